/** Well-known ports of the rack's underlay (RFD 63 as Omicron had it on 2022-11-11). */
export const ports = {
  dns: 53,
  dns_http: 5353,
  sled_agent: 12345,
  bootstrap_agent: 12346,
  propolis: 12400,
  nexus_internal: 12221,
  /** Ours: msgpack frames between Nexus and the supervisors. */
  nexus_wire: 12222,
  /** The external API when nothing else is configured. */
  nexus_external: 12220,
} as const
