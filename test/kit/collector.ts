/** An OTLP/HTTP collector for tests: takes what an exporter posts, and shows it as it came. */
import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'

/** A span as OTLP's JSON has it, with its resource's service. */
export interface CollectedSpan {
  readonly service: string
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: readonly Attribute[]
  readonly status: { readonly code?: number; readonly message?: string }
}
interface Attribute {
  readonly key: string
  readonly value: { readonly stringValue: string }
}
interface Body {
  readonly resourceSpans: ReadonlyArray<{
    readonly resource: { readonly attributes: readonly Attribute[] }
    readonly scopeSpans: ReadonlyArray<{
      readonly spans: ReadonlyArray<Omit<CollectedSpan, 'service'>>
    }>
  }>
}

export class Collector {
  readonly spans: CollectedSpan[] = []
  /** What is answered from now on. */
  status = 200
  requests = 0
  readonly #server: Server

  private constructor(server: Server) {
    this.#server = server
  }

  static async start(port = 0): Promise<Collector> {
    const server = createServer((request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        collector.requests += 1
        if (collector.status === 200) {
          assert.equal(request.url, '/v1/traces')
          assert.equal(request.headers['content-type'], 'application/json')
          collector.#take(JSON.parse(Buffer.concat(chunks).toString()) as Body)
        }
        response.writeHead(collector.status, { 'content-type': 'application/json' }).end('{}')
      })
    })
    const collector = new Collector(server)
    const { promise, resolve } = Promise.withResolvers<void>()
    server.listen(port, '127.0.0.1', resolve)
    await promise
    return collector
  }

  get port(): number {
    const address = this.#server.address()
    assert.ok(typeof address === 'object' && address !== null)
    return address.port
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  async stop(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#server.close(() => {
      resolve()
    })
    this.#server.closeAllConnections()
    await promise
  }

  #take({ resourceSpans }: Body): void {
    for (const { resource, scopeSpans } of resourceSpans) {
      const service = resource.attributes.find(({ key }) => key === 'service.name')
      for (const { spans } of scopeSpans) {
        for (const span of spans) {
          this.spans.push({ ...span, service: service?.value.stringValue ?? '' })
        }
      }
    }
  }
}
