-- A row of every table that version 4 brought.
insert into saml_login_request (id, identity_provider_id, time_expires_ms)
  values ('_0123456789abcdef', '20000000-0000-4000-8000-000000000002', 1668125400000);
insert into saml_assertion_used (identity_provider_id, assertion_hash, time_expires_ms)
  values ('20000000-0000-4000-8000-000000000002', '00ff', 1668125400000);
