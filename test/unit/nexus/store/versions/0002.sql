-- A row of every table that version 2 brought.
insert into silo_group (id, silo_id, external_id, time_created_ms, time_deleted_ms)
  values ('20000000-0000-4000-8000-000000000001', '10000000-0000-4000-8000-000000000001', 'crew', 1668124800000, null);
insert into silo_group_membership (silo_user_id, silo_group_id)
  values ('10000000-0000-4000-8000-000000000002', '20000000-0000-4000-8000-000000000001');
insert into silo_user_password (silo_user_id, hash, time_created_ms)
  values ('10000000-0000-4000-8000-000000000002', '$argon2id$v=19$m=98304,t=13,p=1$AAAA$AAAA', 1668124800000);
insert into saml_identity_provider (id, name, description, time_created_ms, time_modified_ms, time_deleted_ms, silo_id, idp_metadata, idp_entity_id, sp_client_id, acs_url, slo_url, technical_contact_email, public_cert, private_key, group_attribute_name)
  values ('20000000-0000-4000-8000-000000000002', 'idp', 'a provider', 1668124800000, 1668124800000, null, '10000000-0000-4000-8000-000000000001', '<x/>', 'e', 'c', 'https://a', 'https://s', 'm@x', null, null, null);
