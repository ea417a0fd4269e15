// The explorer as a person uses it: tabs, variables, the button that runs, and the bar.
import { expect } from './chromium.mjs';

export class Workbench {
  constructor(page) {
    this.page = page;
  }

  /** Prepares a page before it loads the explorer. */
  static async on(page) {
    // Monaco draws only the lines in view, so texts are read from its models, which GraphiQL names by their content.
    await page.addInitScript(() => {
      window.editorModel = name => window.__MONACO?.editor.getModels().find(({ uri }) => uri.path.endsWith(name));
    });
    return new Workbench(page);
  }

  /** Goes to the tab of an operation. */
  async open(name) {
    await this.page.getByRole('tab', { name }).click();
    await this.opened(name);
  }

  async opened(name) {
    await this.page.getByRole('tab', { name, selected: true }).waitFor();
  }

  /** Writes an operation into a new tab and runs it. */
  async say(query) {
    await this.page.getByRole('button', { name: 'New tab' }).click();
    await this.#write('operation.graphql', query);
    return this.#answer();
  }

  /** Writes the variables of the open tab. */
  async fillIn(variables) {
    await this.#write('variables.json', JSON.stringify(variables, null, 2));
  }

  /** The variables of the open tab, once they hold a text. */
  async variables(text) {
    await this.page.waitForFunction(text => window.editorModel('variables.json')?.getValue().includes(text), text);
    return JSON.parse(await this.page.evaluate(() => window.editorModel('variables.json').getValue()));
  }

  /**
   * Runs the open tab and gives the data of its answer: the first answer, or the first that has the value at the path.
   * An answer with errors fails at once.
   */
  async run(path = '', value = undefined) {
    const { data, errors } = await this.#answer(path, value);
    expect(!errors, 'the server answered', errors);
    return data;
  }

  async #answer(path = '', value = undefined) {
    await this.page.getByRole('button', { name: /^Execute query/ }).click();
    const shown = await this.page.waitForFunction(
      ([path, value]) => {
        const text = window.editorModel('response.json').getValue();
        if (!text) return null;
        const answer = JSON.parse(text);
        const found = path.split('.').reduce((inner, key) => inner?.[key], answer.data);
        return answer.errors || !path || found === value ? answer : null;
      },
      [path, value],
    );
    return shown.jsonValue();
  }

  async #write(model, text) {
    await this.page.waitForFunction(name => window.editorModel(name), model);
    await this.page.evaluate(([name, text]) => window.editorModel(name).setValue(text), [model, text]);
  }

  /** Presses a button of the bar. */
  async press(name) {
    await this.page.locator('.bar').getByRole('button', { name }).click();
  }

  /** Waits until the bar says something. */
  async says(text) {
    await this.page.locator('.bar').getByText(text, { exact: true }).waitFor();
  }
}
