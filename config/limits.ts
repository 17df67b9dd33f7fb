/** Every bound in one place, unit in the name; relations between them are asserted at load. */
import assert from 'node:assert/strict'

export const limits = {
  // Messages and links.
  frame_bytes_max: 4 * 1024 * 1024,
  mailbox_default_max: 256,
  link_inflight_max: 4096,
  link_outgoing_bytes_max: 16 * 1024 * 1024,
  link_connect_ms: 2_000,
  link_retry_ms_min: 50,
  link_retry_ms_max: 2_000,
  link_ping_ms: 1_000,
  link_silent_ms_max: 5_000,

  // HTTP.
  http_body_bytes_max: 1_048_576,
  http_headers_bytes_max: 16_384,
  http_request_ms_max: 300_000,

  // Resources (spec of 2022-11-11: disks, NICs, external IPs and keys of one instance).
  instance_disks_max: 8,
  instance_nics_max: 8,
  instance_external_ips_max: 1,
  instance_ssh_keys_max: 8,
  user_data_bytes_max: 32 * 1024,
  size_step_bytes: 1024 ** 3,

  // Work on the sled.
  image_fetch_ms_max: 120_000,
  image_probe_ms_max: 5_000,
  disk_ensure_ms_max: 180_000,
  instance_start_ms_max: 60_000,
  instance_stop_ms_max: 90_000,
  /** How long a guest may take to end after its power button was pressed. */
  instance_stop_grace_ms: 30_000,
  zone_boot_ms_max: 30_000,
  /** Between two attempts to make a vnic that should be there. */
  vnic_retry_ms_min: 500,
  vnic_retry_ms_max: 30_000,

  // Serial console.
  serial_read_bytes_max: 1024 * 1024,
  serial_read_bytes_default: 16_384,
  serial_write_bytes_max: 64 * 1024,
  serial_follow_ms_max: 20_000,

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
assert(limits.link_ping_ms * 2 < limits.link_silent_ms_max, 'silence outlasts two pings')
