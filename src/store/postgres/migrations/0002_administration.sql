-- What administration needs: names and documents as long as those of files, one revision a transaction, and the
-- history of one policy. And what a failover needs: a revision that is told from another one of the same number.

SET LOCAL search_path = ecs_authz;

-- A policy's name has up to 64 characters, which may be more bytes than an id has, but not more than a file's name can
-- have. A name with a slash, or with a dot in front, could not be a file's.
CREATE DOMAIN policy_name AS text COLLATE "C"
  CHECK (char_length(VALUE) BETWEEN 1 AND 64 AND octet_length(VALUE) <= 240
    AND VALUE !~ '[[:cntrl:]/]' AND VALUE !~ '^\.' AND VALUE = btrim(VALUE));

DO $$
DECLARE
  wrong text := (SELECT string_agg(format('%s of the domain %s', name, domain_id), ', ') FROM policy
    WHERE name ~ '/' OR name ~ '^\.' OR char_length(name) > 64);
BEGIN
  IF wrong IS NOT NULL THEN
    RAISE EXCEPTION 'policies need other names, without slashes or a dot in front, of at most 64 characters: %', wrong;
  END IF;
END $$;

-- With the generated column go its indexes.
ALTER TABLE policy_grant DROP COLUMN policy;
ALTER TABLE policy_grant DROP CONSTRAINT policy_grant_domain_id_own_policy_fkey;
ALTER TABLE policy ALTER COLUMN name TYPE policy_name;
ALTER TABLE policy_grant
  ALTER COLUMN own_policy TYPE policy_name,
  ALTER COLUMN system_policy TYPE policy_name,
  ADD COLUMN policy text COLLATE "C" NOT NULL
    GENERATED ALWAYS AS (coalesce(own_policy::text, system_policy::text)) STORED,
  ADD FOREIGN KEY (domain_id, own_policy) REFERENCES policy;
CREATE UNIQUE INDEX ON policy_grant
  (domain_id, subject_kind, subject_id, policy, scope_kind, (coalesce(scope_id::text, '')));
CREATE INDEX ON policy_grant (domain_id, policy);

-- The provider's limit of a request body: what counts towards the 6,144 characters is not known to SQL.
ALTER TABLE policy DROP CONSTRAINT policy_document_check;
ALTER TABLE policy ADD CHECK (octet_length(document) BETWEEN 2 AND 32768);

ALTER TABLE change ADD CHECK (char_length(actor) BETWEEN 1 AND 256);
CREATE INDEX ON change (domain_id, (coalesce(after, before) ->> 'name'), id) WHERE what = 'policy';

-- Tells two revisions of one number apart, and two documents: a standby that takes over may lack the last changes of its
-- primary, and then counts on from where it stands.
CREATE FUNCTION new_stamp() RETURNS bigint LANGUAGE sql VOLATILE AS $$
  SELECT ('x' || substr(md5(gen_random_uuid()::text), 1, 16))::bit(64)::bigint & 9223372036854775807
$$;
ALTER TABLE domain ADD COLUMN stamp bigint NOT NULL DEFAULT 0;

CREATE OR REPLACE FUNCTION stamp_policy() RETURNS trigger LANGUAGE plpgsql SET search_path = ecs_authz, pg_temp AS $$
BEGIN
  NEW.etag := new_stamp();
  NEW.updated_at := now();
  RETURN NEW;
END $$;
DROP SEQUENCE etag;

-- One revision a transaction, however many rows it changes: a reader sees all of it or nothing, and to raise the revision
-- of one row for each of many thousands would take quadratic time.
CREATE OR REPLACE FUNCTION record_change() RETURNS trigger
  LANGUAGE plpgsql SET search_path = ecs_authz, pg_temp AS $$
DECLARE
  changed_domain identifier := coalesce(NEW.domain_id, OLD.domain_id);
  next_revision bigint;
  actor text := coalesce(nullif(current_setting('ecs_authz.actor', true), ''), 'sql:' || session_user);
BEGIN
  IF TG_OP = 'UPDATE' AND OLD.domain_id <> NEW.domain_id THEN
    RAISE EXCEPTION 'a row stays in its domain: remove it and add another one';
  END IF;
  -- INVARIANT: a domain that this transaction has raised is locked by it, so nobody has raised it since.
  UPDATE domain SET revision = revision + 1, changed_in = pg_current_xact_id(), stamp = new_stamp()
    WHERE id = changed_domain AND (changed_in <> pg_current_xact_id() OR revision = 0);
  SELECT revision INTO next_revision FROM domain WHERE id = changed_domain;
  INSERT INTO change (domain_id, revision, actor, what, before, after)
    VALUES (changed_domain, next_revision, actor, TG_TABLE_NAME,
      CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END, CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END);
  PERFORM pg_notify('ecs_authz', changed_domain);
  RETURN NULL;
END $$;
