-- A row of every table that version 7 brought.
insert into zpool (id, sled_id, size_bytes, time_created_ms, time_modified_ms)
  values ('50000000-0000-4000-8000-000000000001', '44444444-4444-4444-8444-444444444444', 1099511627776, 1668125400000, 1668125400000);
insert into dataset (id, zpool_id, ip, port, kind, time_created_ms, time_modified_ms)
  values ('50000000-0000-4000-8000-000000000002', '50000000-0000-4000-8000-000000000001', 'fd00:1122:3344:101::5', 32345, 'crucible', 1668125400000, 1668125400000);
insert into service (id, sled_id, ip, kind, time_created_ms, time_modified_ms)
  values ('50000000-0000-4000-8000-000000000003', '44444444-4444-4444-8444-444444444444', 'fd00:1122:3344:101::4', 'nexus', 1668125400000, 1668125400000);
insert into oximeter (id, ip, port, time_created_ms, time_modified_ms)
  values ('50000000-0000-4000-8000-000000000004', 'fd00:1122:3344:101::6', 12223, 1668125400000, 1668125400000);
insert into metric_producer (id, oximeter_id, ip, port, base_route, interval_s, interval_ns, time_created_ms, time_modified_ms)
  values ('50000000-0000-4000-8000-000000000005', '50000000-0000-4000-8000-000000000004', 'fd00:1122:3344:101::7', 4444, '/collect', 10, 0, 1668125400000, 1668125400000);
