-- When each secret was last given to a job.
CREATE INDEX audit_secret ON audit (object, seq) WHERE action = 'secret.use';
