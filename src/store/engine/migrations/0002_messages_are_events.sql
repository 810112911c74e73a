-- A message's id is the number of its `message.new` event, and its row is that event: sending writes
-- one row and one index entry. Rows of the former layout have numbers of their own, so the stream of
-- an older database begins anew after them.

INSERT INTO meta (key, value)
    SELECT 'event_floor', max((SELECT coalesce(max(seq), 0) FROM events), (SELECT coalesce(max(id), 0) FROM messages));
DELETE FROM events;
DELETE FROM meta WHERE key = 'last_message';
