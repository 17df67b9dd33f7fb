/** Authorities, hosts and OpenSSL for tests about certificates. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import type { TlsFiles } from '#config/tls.ts'
import { systemClock } from '#runtime/clock.ts'
import { systemRandom } from '#runtime/random.ts'
import { hostFiles } from '#runtime/tls/files.ts'
import { AuthorityStore } from '#runtime/tls/store.ts'

export const day_ms = 24 * 60 * 60 * 1000

/** A directory that is gone after the tests. */
export function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'luge-tls-'))
  after(() => {
    rmSync(directory, { recursive: true, force: true })
  })
  return directory
}

/** An authority in a directory of its own, with hosts beside it. */
export class TestAuthority {
  readonly directory = scratch()

  /** The store as of now, or as of `ahead_ms` from now. */
  async store(ahead_ms = 0): Promise<AuthorityStore> {
    const opened = await AuthorityStore.open({
      directory: join(this.directory, 'authority'),
      name: 'rack of a test',
      now_ms: systemClock.now() + ahead_ms,
      random: systemRandom,
    })
    assert.ok(opened.ok, opened.ok ? '' : opened.detail)
    return opened.value
  }

  readonly hostDirectory = (host: string): string => join(this.directory, host)

  /** A host's files, issued now or at another time. */
  async host(name: string, ahead_ms = 0): Promise<TlsFiles> {
    const provided = await (await this.store(ahead_ms)).provide(name, this.hostDirectory(name))
    assert.ok(provided.ok, provided.ok ? '' : provided.detail)
    return hostFiles(this.hostDirectory(name))
  }

  /** Gives a host a new key and certificate beside the old one, which still holds. */
  async renew(name: string): Promise<void> {
    rmSync(hostFiles(this.hostDirectory(name)).certificate)
    await this.host(name)
  }

  /** Revokes what a host has; its files stay as they are, and `others` learn of it. */
  async revoke(name: string, others: readonly string[]): Promise<number> {
    const store = await this.store()
    const revoked = await store.revoke(name)
    assert.ok(revoked.ok)
    for (const other of others) {
      const provided = await store.provide(other, this.hostDirectory(other))
      assert.ok(provided.ok)
    }
    return revoked.value
  }
}

export const read = (path: string): string => readFileSync(path, 'utf8')

/** Runs openssl to its end. */
export function openssl(...args: readonly string[]): { status: number | null; output: string } {
  const ran = spawnSync('openssl', args, { encoding: 'utf8', timeout: 20_000, input: '' })
  if (ran.error !== undefined) throw ran.error
  return { status: ran.status, output: `${ran.stdout}${ran.stderr}` }
}
