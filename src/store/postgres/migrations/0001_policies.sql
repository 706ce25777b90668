-- Policies, groups and grants by domain, and the history of their changes.
--
-- Constraints and triggers do the guarding, whoever writes: a statement that changes something of a domain takes the
-- domain's row, raises its revision, records the change and announces the domain, all in its own transaction. So the
-- revisions of a domain grow in the order in which its changes are committed.

CREATE SCHEMA ecs_authz;
SET LOCAL search_path = ecs_authz;

-- Ids are compared byte for byte.
CREATE DOMAIN identifier AS text COLLATE "C"
  CHECK (octet_length(VALUE) BETWEEN 1 AND 128 AND VALUE !~ '[[:cntrl:]]' AND VALUE = btrim(VALUE));

CREATE TABLE schema_version (
  version integer PRIMARY KEY,
  applied_at timestamptz NOT NULL DEFAULT now()
);

-- `changed_in` is the transaction of the last change: who polls asks for those that were not over when it last looked.
CREATE TABLE domain (
  id identifier PRIMARY KEY,
  revision bigint NOT NULL DEFAULT 0 CHECK (revision >= 0),
  changed_in xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX ON domain (changed_in);

CREATE SEQUENCE etag;

CREATE TABLE policy (
  domain_id identifier NOT NULL REFERENCES domain,
  name identifier NOT NULL,
  -- As it was written: JSON of PostgreSQL's own would forget a repeated member.
  document text NOT NULL CHECK (octet_length(document) BETWEEN 2 AND 24576),
  -- Another one with each change, also after a policy of the name was removed.
  etag bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (domain_id, name)
);

CREATE TABLE user_group (
  domain_id identifier NOT NULL REFERENCES domain,
  id identifier NOT NULL,
  PRIMARY KEY (domain_id, id)
);

CREATE TABLE group_member (
  domain_id identifier NOT NULL,
  group_id identifier NOT NULL,
  user_id identifier NOT NULL,
  PRIMARY KEY (domain_id, user_id, group_id),
  FOREIGN KEY (domain_id, group_id) REFERENCES user_group ON DELETE CASCADE
);
CREATE INDEX ON group_member (domain_id, group_id);

CREATE TYPE subject_kind AS ENUM ('user', 'group', 'agency');
CREATE TYPE scope_kind AS ENUM ('project', 'enterprise_project', 'all_projects', 'domain');

-- A grant names a policy of the domain, or a system policy, which has no row.
CREATE TABLE policy_grant (
  domain_id identifier NOT NULL REFERENCES domain,
  subject_kind subject_kind NOT NULL,
  subject_id identifier NOT NULL,
  own_policy identifier,
  system_policy identifier,
  scope_kind scope_kind NOT NULL,
  scope_id identifier,
  policy text COLLATE "C" NOT NULL GENERATED ALWAYS AS (coalesce(own_policy::text, system_policy::text)) STORED,
  FOREIGN KEY (domain_id, own_policy) REFERENCES policy,
  CHECK (num_nonnulls(own_policy, system_policy) = 1),
  CHECK ((scope_id IS NOT NULL) = (scope_kind IN ('project', 'enterprise_project')))
);
CREATE UNIQUE INDEX ON policy_grant
  (domain_id, subject_kind, subject_id, policy, scope_kind, (coalesce(scope_id::text, '')));
CREATE INDEX ON policy_grant (domain_id, policy);

-- Who changed what, and when. Rows are added and never touched again.
CREATE TABLE change (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  domain_id identifier NOT NULL,
  revision bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  actor text NOT NULL,
  what text NOT NULL,
  before jsonb,
  after jsonb
);
CREATE INDEX ON change (domain_id, id);

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the history is only added to';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON change FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER append_only_as_a_whole BEFORE TRUNCATE ON change FOR EACH STATEMENT EXECUTE FUNCTION refuse();

-- A domain begins with its first row.
CREATE FUNCTION begin_domain() RETURNS trigger LANGUAGE plpgsql SET search_path = ecs_authz, pg_temp AS $$
BEGIN
  INSERT INTO domain (id) VALUES (NEW.domain_id) ON CONFLICT DO NOTHING;
  RETURN NEW;
END $$;
CREATE TRIGGER begin_domain BEFORE INSERT ON policy FOR EACH ROW EXECUTE FUNCTION begin_domain();
CREATE TRIGGER begin_domain BEFORE INSERT ON user_group FOR EACH ROW EXECUTE FUNCTION begin_domain();
CREATE TRIGGER begin_domain BEFORE INSERT ON policy_grant FOR EACH ROW EXECUTE FUNCTION begin_domain();

CREATE FUNCTION stamp_policy() RETURNS trigger LANGUAGE plpgsql SET search_path = ecs_authz, pg_temp AS $$
BEGIN
  NEW.etag := nextval('etag');
  NEW.updated_at := now();
  RETURN NEW;
END $$;
CREATE TRIGGER stamp_policy BEFORE INSERT OR UPDATE ON policy FOR EACH ROW EXECUTE FUNCTION stamp_policy();

-- The payload is the domain alone, so that many changes of one transaction are one announcement.
CREATE FUNCTION record_change() RETURNS trigger LANGUAGE plpgsql SET search_path = ecs_authz, pg_temp AS $$
DECLARE
  changed_domain identifier := coalesce(NEW.domain_id, OLD.domain_id);
  next_revision bigint;
  actor text := coalesce(nullif(current_setting('ecs_authz.actor', true), ''), 'sql:' || session_user);
BEGIN
  IF TG_OP = 'UPDATE' AND OLD.domain_id <> NEW.domain_id THEN
    RAISE EXCEPTION 'a row stays in its domain: remove it and add another one';
  END IF;
  UPDATE domain SET revision = revision + 1, changed_in = pg_current_xact_id()
    WHERE id = changed_domain RETURNING revision INTO next_revision;
  INSERT INTO change (domain_id, revision, actor, what, before, after)
    VALUES (changed_domain, next_revision, actor, TG_TABLE_NAME,
      CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END, CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END);
  PERFORM pg_notify('ecs_authz', changed_domain);
  RETURN NULL;
END $$;
CREATE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON policy
  FOR EACH ROW EXECUTE FUNCTION record_change();
CREATE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON user_group
  FOR EACH ROW EXECUTE FUNCTION record_change();
CREATE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON group_member
  FOR EACH ROW EXECUTE FUNCTION record_change();
CREATE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON policy_grant
  FOR EACH ROW EXECUTE FUNCTION record_change();

-- Nothing is removed behind the triggers' back.
CREATE FUNCTION refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'rows are removed by DELETE, so that the change is recorded';
END $$;
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON policy FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON user_group FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON group_member FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON policy_grant FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();

-- Revisions never shrink, so a domain stays when its last row is removed.
CREATE FUNCTION keep_domain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' OR NEW.revision < OLD.revision OR NEW.id <> OLD.id THEN
    RAISE EXCEPTION 'a domain stays, and its revision only grows';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER keep_domain BEFORE UPDATE OR DELETE ON domain FOR EACH ROW EXECUTE FUNCTION keep_domain();
