-- A row of every table that version 5 brought.
insert into snapshot (id, name, description, time_created_ms, time_modified_ms, time_deleted_ms, project_id, size_bytes, block_size, disk_id, sled_id, state)
  values ('30000000-0000-4000-8000-000000000001', 'old-snapshot', 'a snapshot', 1668124800000, 1668124800000, null, '10000000-0000-4000-8000-000000000007', 1073741824, 512, '30000000-0000-4000-8000-000000000003', '44444444-4444-4444-8444-444444444444', 'ready');
insert into image (id, name, description, time_created_ms, time_modified_ms, time_deleted_ms, project_id, size_bytes, block_size, sled_id, url, version, source)
  values ('30000000-0000-4000-8000-000000000002', 'old-image', 'an image', 1668124800000, 1668124800000, null, '10000000-0000-4000-8000-000000000007', 512, 512, null, 'http://x/y', null, '{"type":"url","url":"http://x/y","size_bytes":512}');
insert into disk_sample (disk_id, time_ms, start_ms, activated, flush, read, read_bytes, write, write_bytes)
  values ('30000000-0000-4000-8000-000000000003', 1668124800000, 1668124790000, 1, 2, 3, 1536, 4, 2048);
