// What the scripts of this folder share: a browser, steps with their times, and what must hold.
import { chromium } from 'playwright-core';

const STEP_TIMEOUT_MS = 30_000;

/** Starts Chromium, which CHROMIUM names where it is not in its usual place. */
export async function launch(...more) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      ...more,
    ],
  });
}

/** Opens a window whose steps fail when they do not come to their end in time. */
export async function open(browser, options = {}) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(STEP_TIMEOUT_MS);
  return context;
}

/** Runs a step and says how long it took. */
export async function step(name, run) {
  const began = performance.now();
  await run();
  console.log(`ok   ${name} (${Math.round(performance.now() - began)} ms)`);
}

/** Fails unless something holds, and says what was seen. */
export function expect(holds, otherwise, seen) {
  if (holds) return;
  throw new Error(seen === undefined ? otherwise : `${otherwise}: ${JSON.stringify(seen)}`);
}

/** Runs main and closes the browser. This program fails with what main threw, after a last look, or complained of. */
export async function finish(browser, complaints, main, lastLook = async () => {}) {
  try {
    await main();
  } catch (error) {
    complaints.push(error.stack);
    await lastLook();
  }
  await browser.close();
  for (const complaint of complaints) console.error(`FAIL ${complaint}`);
  process.exitCode = complaints.length > 0 ? 1 : 0;
}
