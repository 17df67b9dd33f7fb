-- A row of every table as version 1 has it.
insert into silo (id, name, description, time_created_ms, time_modified_ms, time_deleted_ms, discoverable, identity_mode)
  values ('10000000-0000-4000-8000-000000000001', 'silo', 'a silo', 1668124800000, 1668124800000, null, true, 'local_only');
insert into silo_user (id, silo_id, external_id, time_created_ms, time_deleted_ms)
  values ('10000000-0000-4000-8000-000000000002', '001de000-5110-4000-8000-000000000000', 'somebody', 1668124800000, null);
insert into role_assignment (resource_type, resource_id, role_name, identity_id)
  values ('organization', '10000000-0000-4000-8000-000000000003', 'viewer', '10000000-0000-4000-8000-000000000002');
insert into console_session (token_hash, silo_user_id, time_created_ms, time_last_used_ms)
  values ('5e55', '10000000-0000-4000-8000-000000000002', 1668124800000, 1668124800001);
insert into device_auth_request (user_code, device_code, client_id, time_created_ms, time_expires_ms, silo_user_id)
  values ('BCDF-GHJK', 'c0de', '10000000-0000-4000-8000-000000000004', 1668124800000, 1668125100000, null);
insert into device_access_token (token_hash, client_id, silo_user_id, time_created_ms)
  values ('70ce', '10000000-0000-4000-8000-000000000004', '10000000-0000-4000-8000-000000000002', 1668124800000);
insert into ssh_key (id, name, description, time_created_ms, time_modified_ms, time_deleted_ms, silo_user_id, public_key)
  values ('10000000-0000-4000-8000-000000000005', 'key', 'a key', 1668124800000, 1668124800000, null, '10000000-0000-4000-8000-000000000002', 'ssh-ed25519 AAAA');
insert into organization (id, name, description, time_created_ms, time_modified_ms, time_deleted_ms, silo_id)
  values ('10000000-0000-4000-8000-000000000003', 'old-org', 'Überbleibsel', 1668124800000, 1668124800000, null, '001de000-5110-4000-8000-000000000000');
insert into organization (id, name, description, time_created_ms, time_modified_ms, time_deleted_ms, silo_id)
  values ('10000000-0000-4000-8000-000000000006', 'old-org', 'deleted, its name free', 1668124800000, 1668124800000, 1668124800000, '001de000-5110-4000-8000-000000000000');
insert into project (id, name, description, time_created_ms, time_modified_ms, time_deleted_ms, organization_id)
  values ('10000000-0000-4000-8000-000000000007', 'old-proj', 'a project', 1668124800000, 1668124800000, null, '10000000-0000-4000-8000-000000000003');
insert into vpc (id, name, description, time_created_ms, time_modified_ms, time_deleted_ms, project_id, system_router_id, vni, ipv6_prefix, dns_name)
  values ('10000000-0000-4000-8000-000000000008', 'default', 'a VPC', 1668124800000, 1668124800000, null, '10000000-0000-4000-8000-000000000007', '10000000-0000-4000-8000-00000000000a', 16777215, 'fd12:3456:789a::/48', 'default');
insert into vpc_subnet (id, name, description, time_created_ms, time_modified_ms, time_deleted_ms, vpc_id, ipv4_block, ipv6_block)
  values ('10000000-0000-4000-8000-000000000009', 'default', 'a subnet', 1668124800000, 1668124800000, null, '10000000-0000-4000-8000-000000000008', '172.30.0.0/22', 'fd12:3456:789a::/64');
insert into vpc_router (id, name, description, time_created_ms, time_modified_ms, time_deleted_ms, vpc_id, kind)
  values ('10000000-0000-4000-8000-00000000000a', 'system', 'a router', 1668124800000, 1668124800000, null, '10000000-0000-4000-8000-000000000008', 'system');
insert into router_route (id, name, description, time_created_ms, time_modified_ms, time_deleted_ms, vpc_router_id, kind, target, destination)
  values ('10000000-0000-4000-8000-00000000000b', 'default', 'a route', 1668124800000, 1668124800000, null, '10000000-0000-4000-8000-00000000000a', 'default', '{"type":"internet_gateway","value":"outbound"}', '{"type":"vpc","value":"default"}');
insert into vpc_firewall_rule (id, name, description, time_created_ms, time_modified_ms, time_deleted_ms, vpc_id, status, direction, targets, filters, action, priority)
  values ('10000000-0000-4000-8000-00000000000c', 'allow-ssh', 'a rule', 1668124800000, 1668124800000, null, '10000000-0000-4000-8000-000000000008', 'enabled', 'inbound', '[{"type":"vpc","value":"default"}]', '{"hosts":null,"protocols":["TCP"],"ports":["22"]}', 'allow', 65534);
insert into ip_pool (id, name, description, time_created_ms, time_modified_ms, time_deleted_ms, project_id, rack_id)
  values ('10000000-0000-4000-8000-00000000000d', 'old-pool', 'a pool', 1668124800000, 1668124800000, null, null, null);
insert into ip_pool_range (id, ip_pool_id, first_address, last_address, first_sort, last_sort, time_created_ms, time_deleted_ms)
  values ('10000000-0000-4000-8000-00000000000e', '10000000-0000-4000-8000-00000000000d', '10.0.0.1', '10.0.0.9', '4:0000000000000000000000000a000001', '4:0000000000000000000000000a000009', 1668124800000, null);
insert into external_ip (id, ip_pool_id, ip_pool_range_id, instance_id, kind, ip, first_port, last_port, time_created_ms, time_deleted_ms)
  values ('10000000-0000-4000-8000-00000000000f', '10000000-0000-4000-8000-00000000000d', '10000000-0000-4000-8000-00000000000e', '10000000-0000-4000-8000-000000000012', 'ephemeral', '10.0.0.1', 0, 65535, 1668124800000, null);
insert into global_image (id, name, description, time_created_ms, time_modified_ms, time_deleted_ms, url, distribution, version, block_size, size_bytes, source)
  values ('10000000-0000-4000-8000-000000000010', 'old-image', 'an image', 1668124800000, 1668124800000, null, null, 'alpine', '3', 512, 104857600, '{"type":"alpine"}');
insert into disk (id, name, description, time_created_ms, time_modified_ms, time_deleted_ms, project_id, sled_id, image_id, size_bytes, block_size, source, state, attach_instance_id, slot)
  values ('10000000-0000-4000-8000-000000000011', 'old-disk', 'a disk', 1668124800000, 1668124800000, null, '10000000-0000-4000-8000-000000000007', '44444444-4444-4444-8444-444444444444', null, 9007199254740991, 512, null, 'detached', null, null);
insert into instance (id, name, description, time_created_ms, time_modified_ms, time_deleted_ms, project_id, sled_id, propolis_id, ncpus, memory_bytes, hostname, user_data, public_keys, run_state, time_run_state_updated_ms, gen, pending_target)
  values ('10000000-0000-4000-8000-000000000012', 'old-inst', 'an instance', 1668124800000, 1668124800000, null, '10000000-0000-4000-8000-000000000007', '44444444-4444-4444-8444-444444444444', '10000000-0000-4000-8000-000000000013', 2, 1073741824, 'old-inst', '', '[]', 'stopped', 1668124800000, 7, null);
insert into network_interface (id, name, description, time_created_ms, time_modified_ms, time_deleted_ms, instance_id, vpc_id, subnet_id, mac, ip, slot, is_primary)
  values ('10000000-0000-4000-8000-000000000014', 'net0', 'a NIC', 1668124800000, 1668124800000, null, '10000000-0000-4000-8000-000000000012', '10000000-0000-4000-8000-000000000008', '10000000-0000-4000-8000-000000000009', 'A8:40:25:F0:00:01', '172.30.0.5', 0, true);
insert into rack (id, time_created_ms, time_modified_ms)
  values ('88888888-8888-4888-8888-888888888888', 1668124800000, 1668124800000);
insert into sled (id, rack_id, ip, port, platform, time_created_ms, time_modified_ms)
  values ('44444444-4444-4444-8444-444444444444', '88888888-8888-4888-8888-888888888888', 'fd00:1122:3344:101::1', 12345, 'sim', 1668124800000, 1668124800000);
insert into saga (id, name, params, state, error_node_name, error, time_created_ms)
  values ('10000000-0000-4000-8000-000000000015', 'disk-create', '{}', 'succeeded', null, null, 1668124800000);
insert into saga_node (saga_id, position, name, state, output)
  values ('10000000-0000-4000-8000-000000000015', 0, 'created_disk', 'done', 'null');
insert into published (what, generation) values ('dns', 41);
