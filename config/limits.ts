/** Every bound in one place, unit in the name; relations between them are asserted at load. */
import assert from 'node:assert/strict'

export const limits = {
  // Messages and links.
  frame_bytes_max: 4 * 1024 * 1024,
  /** Items of all lists of one message; a pair of a map counts as four, because it costs as much. */
  message_items_max: 65_536,
  mailbox_default_max: 256,
  link_inflight_max: 16_384,
  link_bindings_max: 262_144,
  link_watches_max: 65_536,
  /** Connections whose other end has not said yet who it is. */
  link_strangers_max: 64,
  /** When a ring between threads was full: how long until the next try. */
  ring_retry_ms: 1,
  /** How long a thread may take to stop before it is ended. */
  thread_stop_ms_max: 10_000,
  /** Actors that messages have made, in one thread. */
  actors_max: 2_000_000,
  /** What a stranger may say at once. */
  link_greeting_bytes_max: 64 * 1024,
  /** What is read of one peer before the others have their turn. */
  link_turn_bytes_max: 64 * 1024,
  link_outgoing_bytes_max: 16 * 1024 * 1024,
  /** From dialling, or being dialled, until the other end must have said who it is. */
  link_connect_ms: 4_000,
  /** Answers that wait for an end that does not read; beyond it the channel is over. */
  link_parked_max: 131_072,
  link_parked_bytes_max: 64 * 1024 * 1024,
  link_retry_ms_min: 50,
  link_retry_ms_max: 500,
  link_ping_ms: 1_000,
  link_silent_ms_max: 5_000,

  // The journal.
  journal_commit_lines_max: 512,
  journal_commit_bytes_max: 1024 * 1024,
  journal_document_bytes_max: 4 * 1024 * 1024,
  /** Documents of one append: they are durable together. */
  journal_append_max: 256,
  journal_read_events_max: 1_000,
  journal_read_bytes_max: 1024 * 1024,
  /** How much one step of compaction rewrites before others get their turn. */
  journal_compact_bytes_max: 256 * 1024,
  /** Compaction begins by itself once this much, and more than what is alive, is dead. */
  journal_dead_bytes_max: 4 * 1024 * 1024,
  journal_wal_bytes_max: 16 * 1024 * 1024,

  // The cluster (runtime/cluster/timing.ts says why these three keep it safe).
  cluster_heartbeat_ms: 1_000,
  /** How long a member trusts its session after it sent a renewal that was granted. */
  cluster_trust_ms_max: 4_000,
  /** How long a member must have made no progress before others end its session. */
  cluster_silence_ms_min: 6_000,
  cluster_name_bytes_max: 512,
  // TLS between hosts.
  tls_handshake_ms_max: 3_000,
  tls_waiting_max: 64,
  tls_file_bytes_max: 256 * 1024,
  /** Between two looks at the files of certificates. */
  tls_reload_ms: 5_000,
  /** Between two looks at whether the peers of links are still to be trusted. */
  tls_recheck_ms: 60_000,
  tls_refusals_log_ms: 1_000,
  /** How long before the end of a certificate `luge rack status` warns of it. */
  tls_warning_ms: 30 * 24 * 60 * 60 * 1_000,
  /** For how long it tells of a connection that was refused. */
  tls_refusal_shown_ms: 60 * 60 * 1_000,

  // Seeing in.
  /** How long a thread may take to say what it looks like; then it counts as silent. */
  seeing_thread_ms_max: 1_000,
  /** How finely the loop's delay is measured, while somebody watches. */
  seeing_delay_ms: 20,
  /** Spans that wait to be sent, in each thread and again where they are sent from. */
  spans_waiting_max: 8_192,
  spans_batch_max: 512,
  spans_send_ms_max: 10_000,
  /** How long a process that ends takes for its last spans. */
  spans_close_ms_max: 1_000,
  /** Between two deliveries; longer and longer while the collector is away. */
  spans_pause_ms_min: 250,
  spans_pause_ms_max: 30_000,

  // HTTP.
  http_body_bytes_max: 1_048_576,
  http_headers_bytes_max: 16_384,
  http_request_ms_max: 300_000,
  http_handshake_ms_max: 10_000,
  /** Larger files of the console are not served. */
  console_file_bytes_max: 16 * 1024 * 1024,

  // Sessions that have expired, and sagas that ended long ago.
  sweep_rows_max: 500,
  /** Batches of one run: what is left then goes with the next, and nobody waits long for a run's end. */
  sweep_batches_max: 10,
  /** How long after its end a saga is still listed: a week. */
  saga_kept_ms: 7 * 24 * 60 * 60 * 1_000,
  /** How long a device that asks too late is told so. */
  device_expired_kept_ms: 600_000,

  // Logins by SAML.
  saml_metadata_bytes_max: 512 * 1024,
  saml_metadata_ms_max: 5_000,
  saml_response_bytes_max: 256 * 1024,
  /** How deep elements of what providers send may be within each other. */
  saml_depth_max: 64,
  saml_clock_skew_ms: 60_000,
  /** How long a user may take at the provider. */
  saml_login_ms_max: 600_000,
  /** How long an assertion may be good for. */
  saml_assertion_ms_max: 86_400_000,
  saml_groups_max: 1_000,
  external_id_chars_max: 512,

  // Resources (spec of 2022-11-11: disks, NICs, external IPs and keys of one instance).
  instance_disks_max: 8,
  instance_nics_max: 8,
  instance_external_ips_max: 1,
  instance_ssh_keys_max: 8,
  user_data_bytes_max: 32 * 1024,
  role_assignments_max: 64,
  size_step_bytes: 1024 ** 3,

  // Work on the sled.
  /** What must be free on the disk of a rack's state for its supervisor to be started. */
  state_free_bytes_min: 32 * 1024 ** 2,
  /** Between two looks at what guests have asked of their disks, and how long that is kept. */
  disk_sample_ms: 10_000,
  disk_samples_kept_ms: 24 * 60 * 60 * 1_000,
  image_fetch_ms_max: 120_000,
  image_probe_ms_max: 5_000,
  disk_ensure_ms_max: 180_000,
  instance_start_ms_max: 60_000,
  instance_stop_ms_max: 90_000,
  instance_migrate_ms_max: 300_000,
  /** How long a guest may take to end after its power button was pressed. */
  instance_stop_grace_ms: 30_000,
  zone_boot_ms_max: 30_000,
  /** How long a sled waits for the network of the one with the uplink, and how often it looks. */
  trunk_wait_ms_max: 20_000,
  trunk_poll_ms: 50,
  /** Between two attempts to make a vnic that should be there. */
  vnic_retry_ms_min: 500,
  vnic_retry_ms_max: 30_000,

  // Serial console.
  serial_read_bytes_max: 1024 * 1024,
  serial_read_bytes_default: 16_384,
  serial_write_bytes_max: 64 * 1024,
  serial_follow_ms_max: 20_000,

  // The store, per member.
  store_connections_max: 16,
  store_connect_ms_max: 5_000,
  /** A statement that takes longer is cancelled by the database; the answer is waited for longer. */
  store_statement_ms_max: 20_000,
  store_answer_ms_max: 30_000,
  /** How long the answer to a short read is waited for before it is asked for elsewhere. */
  store_lane_ms_max: 5_000,
  /** Once a short read takes longer than this, those after it do not line up behind it. */
  store_lane_slow_ms_max: 500,
  store_prepared_max: 1_000,
  /** How long SQLite waits, with the whole process, for another process to let go of the file. */
  store_busy_ms_max: 1_000,
  /** The same while the file is opened, and brought to this program's version. */
  store_prepare_busy_ms_max: 5_000,
  /** How often what other transactions were in the way of is run, and the pause between. */
  store_statement_tries_max: 5,
  store_tries_max: 24,
  store_retry_ms_min: 2,
  store_retry_ms_max: 500,
  /** Between two attempts to reach a database that is not there when Nexus starts. */
  store_wait_ms: 1_000,

  /** Changes of a VPC's instances that come within this time are sent to its ports together. */
  firewall_gather_ms: 250,
  /** External addresses that are read together to be sent. */
  nat_rows_at_once_max: 1_000,
  /** Ports that are sent their rules at once. */
  firewall_ports_at_once_max: 64,

  // Background tasks of Nexus: from the end of a run to the next.
  background_sagas_ms: 5_000,
  background_instances_ms: 30_000,
  background_propagation_ms: 5_000,
  background_expiry_ms: 10_000,
  /** How often one that does only what is left to do does all of it. */
  background_whole_ms: 60_000,

  // The `oxide` command.
  cli_connect_ms_max: 10_000,
  cli_answer_bytes_max: 64 * 1024 * 1024,
  cli_wait_poll_ms: 100,
  cli_wait_ms_max: 300_000,
  cli_serial_idle_ms: 1_000,
  cli_serial_close_ms_max: 1_000,
  cli_device_poll_ms: 5_000,
} as const

assert(limits.serial_read_bytes_max < limits.frame_bytes_max, 'a serial read fits in a frame')
assert(limits.serial_write_bytes_max < limits.frame_bytes_max, 'a serial write fits in a frame')
assert(limits.http_body_bytes_max < limits.frame_bytes_max, 'an HTTP body fits in a frame')
assert(limits.tls_handshake_ms_max < limits.link_connect_ms, 'a handshake fits into connecting')
assert(
  2 * limits.link_inflight_max + limits.link_watches_max < limits.link_parked_max,
  'answers, cancellations and watches of a peer that keeps to its bounds have room',
)
assert(limits.link_ping_ms * 2 < limits.link_silent_ms_max, 'silence outlasts two pings')
assert(
  limits.cluster_trust_ms_max >= 3 * limits.cluster_heartbeat_ms,
  'two lost renewals in a row stop nobody',
)
assert(
  limits.cluster_silence_ms_min >= 1.25 * limits.cluster_trust_ms_max,
  'a member stops trusting its session well before others end it',
)
assert(limits.store_statement_ms_max < limits.store_answer_ms_max, 'the database gives up first')
assert(
  limits.journal_append_max + limits.journal_commit_lines_max <= 1024,
  'lines of a commit fit the numbers of places (runtime/journal/index.ts)',
)
