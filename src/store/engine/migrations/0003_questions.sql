-- What the policies were asked, as JSON, so that a candidate can be asked the same. Commands from
-- before this, and very large questions, have none.

ALTER TABLE commands ADD COLUMN question TEXT;
