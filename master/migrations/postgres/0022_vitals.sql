-- When a trigger last sent an event, by our clock; and what came too late of late.
ALTER TABLE triggers ADD COLUMN last_event BIGINT;
CREATE INDEX stale_reports_received ON stale_reports (received_at);
