-- Stores values that were just loaded, save where the key was invalidated or pinned: the load may have
-- read what was there before.
-- ARGV[1] the tombstone's form, ARGV[2] the least pinned form; then for each of KEYS the value and its
-- life in milliseconds
local buried, pinned = tonumber(ARGV[1]), tonumber(ARGV[2])
for i, key in ipairs(KEYS) do
	local form = string.byte(redis.call('GETRANGE', key, 0, 0))
	if not form or (form ~= buried and form < pinned) then
		redis.call('SET', key, ARGV[2 * i + 1], 'PX', ARGV[2 * i + 2])
	end
end
return #KEYS
