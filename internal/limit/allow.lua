-- Generic cell rate algorithm over several subjects: counts all or none.
-- KEYS[i]     when subject i has all its units again, in microseconds since 1970
-- ARGV[1]     now in microseconds since 1970; 0: this server's clock
-- ARGV[3i-1]  tolerance of subject i in microseconds
-- ARGV[3i]    its cost in microseconds; below zero it is given back
-- ARGV[3i+1]  how much of the tolerance is used as far as the asking server knows: this counts where the
--             key is not there, because Redis came back empty
-- Returns for each subject how long it has to wait (0: passes) and the tolerance it has left, both in
-- microseconds. All numbers are whole and below 2^53, so they are exact.
local now = tonumber(ARGV[1])
if now == 0 then
	local time = redis.call('TIME')
	now = time[1] * 1000000 + time[2]
end

local function keep(key, full, life)
	-- A second more than needed: the key may not expire before the units are full.
	redis.call('SET', key, string.format('%.0f', full), 'PX', math.ceil(life / 1000) + 1000)
end

local answer, after, pass = {}, {}, true
for i, key in ipairs(KEYS) do
	local tolerance, cost, used = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
	local full = redis.call('GET', key)
	if not full and used > 0 then
		full = now + used
		keep(key, full, used)
	end
	full = math.min(math.max(tonumber(full or 0), now), now + tolerance)
	after[i] = math.max(full + cost, now)
	local wait = after[i] - now - tolerance
	if wait > 0 then
		pass = false
	end
	answer[2 * i - 1] = math.max(wait, 0)
	answer[2 * i] = tolerance - (full - now)
end

if pass then
	for i, key in ipairs(KEYS) do
		local tolerance, cost = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
		-- What was given back stays written until no server remembers otherwise.
		keep(key, after[i], cost < 0 and tolerance or after[i] - now)
		answer[2 * i] = answer[2 * i] - cost
	end
end
return answer
