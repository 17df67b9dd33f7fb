/** Structured logging: a sentence and the fields that matter, one JSON line each. */
import { destination, pino, type Logger } from 'pino'

export interface Log {
  readonly debug: (message: string, fields?: Record<string, unknown>) => void
  readonly info: (message: string, fields?: Record<string, unknown>) => void
  readonly warn: (message: string, fields?: Record<string, unknown>) => void
  readonly error: (message: string, fields?: Record<string, unknown>) => void
  readonly child: (fields: Record<string, unknown>) => Log
}
export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** Lines to standard error: whoever started the process decides where that goes. */
export function stderrLog(name: string, level: LogLevel = 'info'): Log {
  return overPino(
    pino(
      { name, level, base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime },
      destination({ fd: 2, sync: true }),
    ),
  )
}

function overPino(logger: Logger): Log {
  return {
    debug: (message, fields) => {
      logger.debug(fields ?? {}, message)
    },
    info: (message, fields) => {
      logger.info(fields ?? {}, message)
    },
    warn: (message, fields) => {
      logger.warn(fields ?? {}, message)
    },
    error: (message, fields) => {
      logger.error(fields ?? {}, message)
    },
    child: (fields) => overPino(logger.child(fields)),
  }
}

export interface LogLine {
  readonly level: LogLevel
  readonly message: string
  readonly fields: Record<string, unknown>
}

/** Lines kept in memory, for tests to look at. */
export function memoryLog(lines: LogLine[] = [], inherited: Record<string, unknown> = {}): Log {
  const write = (level: LogLevel) => (message: string, fields?: Record<string, unknown>) => {
    lines.push({ level, message, fields: { ...inherited, ...fields } })
  }
  return {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: (fields) => memoryLog(lines, { ...inherited, ...fields }),
  }
}
