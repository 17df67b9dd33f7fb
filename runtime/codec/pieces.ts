/** The code of a schema, piece by piece: see compile.ts for what it is like. */
import type { TSchema } from 'typebox'
import {
  all,
  anything,
  list_head_bytes_max,
  literal,
  makeRoom,
  number_bytes_max,
  outside,
  placeOf,
  readHead,
  readSmall,
  refuseHalves,
  room,
  writeHead,
  writeSmall,
  type Piece,
} from './code.ts'
import { kindOf, objectFields, tagOf, tupleFields, uncheckedWord, uuidPattern } from './shape.ts'
import type { Field, Shape } from './shape.ts'
import { same_token } from './texts.ts'

/** What is compiled together: a schema with all that is in it. */
export class Unit {
  readonly lines: string[] = []
  readonly constants: unknown[] = []
  /** Whether it has lists or maps, whose items are counted over the whole message. */
  isCounted = false
  /** How many lists the piece that is being compiled is in. */
  #depth = 0
  #names = 0
  /** Variables that the code of the innermost list or function needs, with what they are at first. */
  #carried: string[] = []

  /** The code of a schema; `path` names it in errors. */
  piece(schema: TSchema, path: string): Piece {
    // A schema is plain data; these are the keywords that JSON Schema and TypeBox define.
    const shape = schema as Shape
    const kind = kindOf(schema)
    const unchecked = uncheckedWord(schema)
    if (unchecked !== undefined) {
      throw new Error(`schema at ${path}: nothing in a codec checks "${unchecked}"`)
    }
    const make = this.#makers[kind]
    if (make === undefined) {
      throw new Error(`schema at ${path}: messages cannot carry the kind "${kind}"`)
    }
    return make(shape, path)
  }

  readonly #makers: Readonly<Record<string, (shape: Shape, path: string) => Piece>> = {
    Null: (_shape, path) => this.#constant(null, path),
    Literal: (shape, path) => this.#constant(shape.const ?? null, path),
    Boolean: (_shape, path) => this.#boolean(path),
    Integer: (shape, path) => this.#number(shape, path),
    Number: (shape, path) => this.#number(shape, path),
    String: (shape, path) => this.#string(shape, path),
    Enum: (shape, path) => this.#choice(shape.enum ?? [], path),
    Union: (shape, path) => this.#union(shape.anyOf ?? [], path),
    Array: (shape, path) => this.#list(shape, path),
    Tuple: (shape, path) => this.#fields(tupleFields(shape), 'list', path),
    Object: (shape, path) => this.#fields(objectFields(shape, path), 'record', path),
    Record: (shape, path) => this.#map(shape, path),
    Unknown: () => anything,
    Any: () => anything,
    // What is checked in code and has no kind: raw bytes (see `binary` of the actors' schemas).
    Bytes: (_shape, path) => this.#bytes(path),
  }

  /** A value that the generated code refers to. */
  #keep(value: unknown): string {
    return `k[${this.constants.push(value) - 1}]`
  }
  /** A name that nothing else has. */
  #name(kind: string): string {
    this.#names += 1
    return `${kind}${this.#names}`
  }

  /** Has `make` make pieces; gives back the variables that their code carries from one item to the next, too. */
  #within<T>(make: () => T): readonly [T, string] {
    const outer = this.#carried
    this.#carried = []
    const made = make()
    const carried = this.#carried.length === 0 ? '' : `let ${this.#carried.join(',')};`
    this.#carried = outer
    return [made, carried]
  }

  /** A function that copies, so that each stays small; gives back how to call it. */
  #copier(body: string): (x: string) => string {
    const name = this.#name('copy')
    this.lines.push(`function ${name}(x){${body}}`)
    return (x) => `${name}(${x})`
  }

  /** Functions that write and read, for what whoever uses them would be too large with. */
  #apart({ write, read, copy, hasTexts }: Omit<Piece, 'bytes'>): Piece {
    const [writer, reader] = [this.#name('write'), this.#name('read')]
    const { enter, leave } = placeOf(hasTexts)
    this.lines.push(
      `function ${writer}(c,x){${enter}${write('x')}${leave}}`,
      `function ${reader}(c){${enter}let x;${read('x')}${leave}return x}`,
    )
    return {
      write: (x) => outside(`${writer}(c,${x})`, hasTexts),
      read: (x) => outside(`${x}=${reader}(c)`, hasTexts),
      copy,
      bytes: null,
      hasTexts,
    }
  }

  #constant(value: unknown, path: string): Piece {
    const refuse = `wrong(${literal(path)},${literal(`must be ${literal(value)}`)})`
    return {
      write: (x) => `if(${x}!==${literal(value)})${refuse};b[at++]=0xc0;`,
      read: (x) => `if(b[at++]!==0xc0)${refuse};${x}=${literal(value)};`,
      copy: (x) => `(${x}===${literal(value)}?${literal(value)}:${refuse})`,
      bytes: 1,
      hasTexts: false,
    }
  }

  #boolean(path: string): Piece {
    const refuse = `wrong(${literal(path)},"must be boolean")`
    return {
      write: (x) => `if(typeof ${x}!=='boolean')${refuse};b[at++]=${x}?0xc3:0xc2;`,
      read: (x) => `${x}=b[at++];if(${x}!==0xc3&&${x}!==0xc2)${refuse};${x}=${x}===0xc3;`,
      copy: this.#copier(`if(typeof x!=='boolean')${refuse};return x`),
      bytes: 1,
      hasTexts: false,
    }
  }

  #number({ '~kind': kind = '', minimum, maximum }: Shape, path: string): Piece {
    const refuse = (x: string) => {
      const tests = [
        kind === 'Integer' ? `Number.isInteger(${x})` : `Number.isFinite(${x})`,
        ...(minimum === undefined ? [] : [`${x}>=${minimum}`]),
        ...(maximum === undefined ? [] : [`${x}<=${maximum}`]),
      ]
      return `if(!(${tests.join('&&')}))wrong(${literal(path)},${literal(`must be a fitting ${kind}`)});`
    }
    return {
      write: (x) => `${refuse(x)}${writeSmall(x, 1)}`,
      read: (x) => `${readSmall(x, 'readNumber')}${refuse(x)}`,
      copy: this.#copier(`${refuse('x')}return x`),
      bytes: number_bytes_max,
      hasTexts: false,
    }
  }

  #string(shape: Shape, path: string): Piece {
    const { minLength = 0, maxLength, pattern } = shape
    const matcher =
      pattern === undefined || pattern === uuidPattern ? '' : this.#keep(new RegExp(pattern, 'u'))
    const refuse = (x: string) => {
      const tests = [`typeof ${x}==='string'`]
      if (maxLength !== undefined || minLength > 0) {
        const quick = `${x}.length<=${maxLength ?? 'Infinity'}&&${x}.length>=${2 * minLength}`
        tests.push(`(${quick}||hasLength(${x},${minLength},${maxLength ?? 'Infinity'}))`)
      }
      if (pattern === uuidPattern) tests.push(`isUuid(${x})`)
      else if (pattern !== undefined) tests.push(`${matcher}.test(${x})`)
      return `if(!(${tests.join('&&')}))wrong(${literal(path)},"must be fitting text");`
    }
    const copy = this.#copier(`${refuse('x')}return x`)
    if (this.#depth > 0) return this.#listed(refuse, copy)
    return {
      write: (x) => `${refuse(x)}${outside(`writeString(c,${x})`)}`,
      read: (x) => `${outside(`${x}=readString(c)`)}${refuse(x)}`,
      copy,
      bytes: null,
      hasTexts: false,
    }
  }

  /**
   * Text in a list: see texts.ts. Whether it is the one before is asked only of those that end alike: to look
   * at the last unit costs little, and the engine puts a text together for it that is made of many.
   */
  #listed(refuse: (x: string) => string, copy: Piece['copy']): Piece {
    const [units, end] = [this.#name('units'), this.#name('end')]
    const [before, endBefore] = [this.#name('before'), this.#name('before')]
    this.#carried.push(`${before}=null,${endBefore}=0`)
    return {
      write: (x) =>
        all(
          refuse(x),
          `const ${units}=${x}.length,${end}=${x}.charCodeAt(${units}-1);`,
          `if(${end}===${endBefore}&&${x}===${before})b[at++]=${same_token};`,
          `else{${before}=${x};${endBefore}=${end};t[n++]=${x};${writeSmall(units)}}`,
        ),
      read: (x) =>
        all(
          `let ${units}=b[at];`,
          `if(${units}===${same_token}&&${before}!==null){at++;${x}=${before}}`,
          `else{${readSmall(units, 'readCount')}`,
          `if(n+${units}>c.window_end){c.text_at=n;showText(c,${units})}`,
          `${x}=c.window.slice(n-c.window_from,n-c.window_from+${units});n+=${units};`,
          `${refuseHalves(x)}${refuse(x)}${before}=${x};}`,
        ),
      copy,
      bytes: number_bytes_max,
      hasTexts: true,
    }
  }

  #bytes(path: string): Piece {
    const refuse = (x: string) =>
      `if(!(${x} instanceof Uint8Array))wrong(${literal(path)},"must be bytes");`
    return {
      write: (x) => `${refuse(x)}${outside(`writeBytes(c,${x})`)}`,
      read: (x) => outside(`${x}=readBytes(c)`),
      copy: this.#copier(`${refuse('x')}return copyBytes(x)`),
      bytes: null,
      hasTexts: false,
    }
  }

  /** One of a few values, by its index. */
  #choice(values: readonly unknown[], path: string): Piece {
    const list = this.#keep(values)
    const index = this.#name('index')
    const refuse = `wrong(${literal(path)},${literal(`must be one of ${values.join(', ')}`)})`
    return {
      write: (x) =>
        `const ${index}=${list}.indexOf(${x});if(${index}<0)${refuse};${writeSmall(index)}`,
      read: (x) => `${readSmall(x, 'readNumber')}${x}=${list}[${x}];if(${x}===undefined)${refuse};`,
      copy: this.#copier(`if(!${list}.includes(x))${refuse};return x`),
      bytes: number_bytes_max,
      hasTexts: false,
    }
  }

  #union(variants: readonly TSchema[], path: string): Piece {
    const shapes = variants.map((variant) => variant as Shape)
    if (shapes.every((shape) => shape['~kind'] === 'Literal')) {
      return this.#choice(
        shapes.map((shape) => shape.const),
        path,
      )
    }
    const others = variants.filter((_variant, index) => shapes[index]?.['~kind'] !== 'Null')
    const [only] = others
    // A constant is written as nil, too: next to null it needs its number.
    const isPlain = only !== undefined && others.length === 1 && kindOf(only) !== 'Literal'
    const inner = isPlain ? this.piece(only, path) : this.#variants(others, path)
    if (others.length === variants.length) return inner
    return {
      ...inner,
      write: (x) =>
        all(
          `if(${x}===null){${inner.bytes === null ? room(1) : ''}b[at++]=0xc0}`,
          `else{${inner.write(x)}}`,
        ),
      read: (x) => `if(b[at]===0xc0){at++;${x}=null}else{${inner.read(x)}}`,
      copy: (x) => `(${x}===null?null:${inner.copy(x)})`,
    }
  }

  /** The first variant that fits: its index, then the value. */
  #variants(variants: readonly TSchema[], path: string): Piece {
    const tag = tagOf(variants)
    const [pieces, carried] = this.#within(() =>
      variants.map((variant) => this.piece(variant, path)),
    )
    const test = (index: number, x: string) =>
      tag === null
        ? `fits(${this.#keep(variants[index])},${x})`
        : `${x}?.[${literal(tag.name)}]===${literal(tag.values[index])}`
    const refuse = `wrong(${literal(path)},"fits no variant")`
    const head = room(list_head_bytes_max + number_bytes_max)
    const writes = pieces.map((piece, index) =>
      all(
        `if(${test(index, 'x')}){${head}${writeHead(2)}`,
        `const i=${index};${writeSmall('i')}`,
        `${makeRoom(piece)}${piece.write('x')}}else `,
      ),
    )
    const reads = pieces.map((piece, index) => `case ${index}:{${piece.read('x')}break}`)
    const copies = pieces.map((piece, index) => `if(${test(index, 'x')})return ${piece.copy('x')};`)
    return this.#apart({
      write: () => `${carried}${writes.join('')}${refuse};`,
      read: () =>
        all(
          `${carried}${readHead(2, refuse)}let i;${readSmall('i', 'readNumber')}`,
          `switch(i){${reads.join('')}default:${refuse}}`,
        ),
      copy: this.#copier(`${copies.join('')}return ${refuse}`),
      hasTexts: pieces.some(({ hasTexts }) => hasTexts),
    })
  }

  /** The beginning of an expression that makes a record of the values that follow: see the head of this file. */
  #maker(keys: readonly string[]): string {
    const name = this.#name('Record')
    const values = keys.map((_key, index) => `v${index}`)
    const body = keys.map((key, index) => `this[${literal(key)}]=v${index}`)
    this.lines.push(
      `function ${name}(${values.join(',')}){${body.join(';')}}`,
      `${name}.prototype=Object.prototype`,
    )
    return `new ${name}(`
  }

  #list(shape: Shape, path: string): Piece {
    const { minItems = 0, maxItems } = shape
    this.isCounted = true
    this.#depth += 1
    const [item, carried] = this.#within(() => this.piece(shape.items as TSchema, `${path}/*`))
    this.#depth -= 1
    const [i, y, count] = [this.#name('i'), this.#name('y'), this.#name('count')]
    const bounds = `${count}<${minItems}${maxItems === undefined ? '' : `||${count}>${maxItems}`}`
    const refuse = `if(${bounds})wrong(${literal(path)},"has too few or too many items");`
    const measure = (x: string) =>
      `if(!Array.isArray(${x}))wrong(${literal(path)},"must be array");const ${count}=${x}.length;${refuse}`
    const each = `for(let ${i}=0;${i}<${count};${i}++)`
    return {
      write: (x) =>
        all(
          `${measure(x)}charge(c,${count});${outside(`writeListHead(c,${count})`)}${carried}`,
          `${each}{const ${y}=${x}[${i}];${makeRoom(item)}${item.write(y)}}`,
        ),
      // An item takes a byte at least: a length beyond what is left is a lie, and costs nothing.
      read: (x) =>
        all(
          `${outside(`const ${count}=readListHead(c)`)}${refuse}charge(c,${count});`,
          `if(${count}>c.limit-at)wrong(${literal(path)},"ends too early");`,
          `${x}=listOf(${count});${carried}`,
          `${each}{let ${y};${item.read(y)}${x}[${i}]=${y}}`,
        ),
      copy: this.#copier(
        `${measure('x')}const v=listOf(${count});${each}{const y=x[${i}];v[${i}]=${item.copy('y')}}return v`,
      ),
      bytes: null,
      hasTexts: item.hasTexts,
    }
  }

  #map(shape: Shape, path: string): Piece {
    const [[keys, schema] = []] = Object.entries(shape.patternProperties ?? {})
    if (schema === undefined) throw new Error(`schema at ${path}: a record without values`)
    this.isCounted = true
    if (keys !== '^.*$') throw new Error(`schema at ${path}: the keys of a record are any text`)
    const item = this.piece(schema, `${path}/*`)
    const [i, y, key, count] = [
      this.#name('i'),
      this.#name('y'),
      this.#name('key'),
      this.#name('count'),
    ]
    const list = this.#name('keys')
    const open = (x: string) =>
      `if(typeof ${x}!=='object'||${x}===null||Array.isArray(${x}))wrong(${literal(path)},"must be object");const ${list}=Object.keys(${x});`
    const proto = `if(${key}==='__proto__')wrong(${literal(path)},"must not have __proto__");`
    const each = `for(const ${key} of ${list}){${proto}`
    return {
      write: (x) =>
        all(
          `${open(x)}charge(c,${list}.length*4);${outside(`writeMapHead(c,${list}.length)`)}`,
          `${each}${outside(`writeString(c,${key})`)}`,
          `const ${y}=${x}[${key}];${makeRoom(item)}${item.write(y)}}`,
        ),
      read: (x) =>
        all(
          `${outside(`const ${count}=readMapHead(c)`)}charge(c,${count}*4);`,
          `if(${count}>c.limit-at)wrong(${literal(path)},"ends too early");`,
          `${x}={};for(let ${i}=0;${i}<${count};${i}++){`,
          `${outside(`const ${key}=readString(c)`)}${proto}`,
          `let ${y};${item.read(y)}${x}[${key}]=${y}}`,
        ),
      copy: this.#copier(
        `${open('x')}const v={};${each}const y=x[${key}];v[${key}]=${item.copy('y')}}return v`,
      ),
      bytes: null,
      hasTexts: item.hasTexts,
    }
  }

  /** A record or a tuple: its fields one after another. */
  #fields(fields: readonly Field[], form: 'record' | 'list', path: string): Piece {
    const parts = fields.map(({ key, schema }) => ({
      name: this.#name('f'),
      piece: this.piece(schema, `${path}/${key}`),
      access: (x: string) => (form === 'record' ? `${x}[${literal(key)}]` : `${x}[${key}]`),
    }))
    const count = fields.length
    const [what, isRight] =
      form === 'record'
        ? [
            'must be object',
            (x: string) => `typeof ${x}==='object'&&${x}!==null&&!Array.isArray(${x})`,
          ]
        : [
            `must be a list of ${count}`,
            (x: string) => `Array.isArray(${x})&&${x}.length===${count}`,
          ]
    const refuse = `wrong(${literal(path)},${literal(what)})`
    const check = (x: string) => `if(!(${isRight(x)}))${refuse};`
    const make = form === 'record' ? this.#maker(fields.map(({ key }) => key)) : 'Array.of('
    const build = (values: readonly string[]) => `${make}${values.join(',')})`
    const sizes = [list_head_bytes_max, ...parts.map(({ piece }) => piece.bytes)]
    const bytes = sizes.reduce((sum, size) => (sum === null || size === null ? null : sum + size))
    return {
      write: (x) => {
        const writes = parts.map(
          ({ name, piece, access }) =>
            `const ${name}=${access(x)};${bytes === null ? makeRoom(piece) : ''}${piece.write(name)}`,
        )
        const head = bytes === null ? room(list_head_bytes_max) : ''
        return `${check(x)}${head}${writeHead(count)}${writes.join('')}`
      },
      read: (x) => {
        const reads = parts.map(({ name, piece }) => `let ${name};${piece.read(name)}`)
        return `${readHead(count, refuse)}${reads.join('')}${x}=${build(parts.map(({ name }) => name))};`
      },
      copy: this.#copier(
        `${check('x')}return ${build(parts.map(({ piece, access }) => piece.copy(access('x'))))}`,
      ),
      bytes,
      hasTexts: parts.some(({ piece }) => piece.hasTexts),
    }
  }
}
