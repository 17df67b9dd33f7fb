-- A row of every table that version 6 brought.
insert into cluster_member (member_id, incarnation, address, heartbeat, status)
values ('old-member', 3, '[fd00::1]:12221', 17, 'left');
insert into cluster_lease (name, generation, holder_id, holder_incarnation)
values ('sagas/old-member#3', 1, 'old-member', 3);
insert into propagation (kind, id, generation, is_owed) values ('dns', '', 3, true);
insert into background_task (name, generation, member, time_last_run_ms)
values ('expiry', 1, 'old-member', 1668124800000);
