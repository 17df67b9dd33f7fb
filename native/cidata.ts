/**
 * The seed disk of cloud-init: a FAT12 volume labelled `cidata` with `meta-data` and `user-data`
 * (Omicron's cidata as of 2022-11-11; FAT as in Microsoft's fatgen103).
 */
const sector_bytes = 512
const reserved_sectors = 1
const fats = 2
const fat_sectors = 9
const root_entries = 112
const root_sectors = (root_entries * 32) / sector_bytes
/** A 1.44 MB floppy's geometry, which every FAT reader knows. */
const total_sectors = 2880
const data_start = reserved_sectors + fats * fat_sectors + root_sectors
const end_of_chain = 0xfff

export interface Seed {
  readonly instance_id: string
  readonly hostname: string
  readonly public_keys: readonly string[]
  /** Base64; empty for none. */
  readonly user_data: string
}

/** The whole image, 1,474,560 bytes. Throws when the files do not fit. */
export function cidataImage(seed: Seed): Buffer {
  const meta = JSON.stringify({
    'instance-id': seed.instance_id,
    'local-hostname': seed.hostname,
    'public-keys': seed.public_keys,
  })
  const image = Buffer.alloc(total_sectors * sector_bytes)
  writeBootSector(image)
  const volume = new Fat12(image)
  volume.label('cidata')
  volume.file('META-D~1   ', 'meta-data', Buffer.from(meta))
  volume.file('USER-D~1   ', 'user-data', Buffer.from(seed.user_data, 'base64'))
  volume.finish()
  return image
}

function writeBootSector(image: Buffer): void {
  image.set([0xeb, 0x3c, 0x90], 0)
  image.write('LUGE    ', 3, 'latin1')
  image.writeUInt16LE(sector_bytes, 11)
  image.writeUInt8(1, 13)
  image.writeUInt16LE(reserved_sectors, 14)
  image.writeUInt8(fats, 16)
  image.writeUInt16LE(root_entries, 17)
  image.writeUInt16LE(total_sectors, 19)
  image.writeUInt8(0xf0, 21)
  image.writeUInt16LE(fat_sectors, 22)
  image.writeUInt16LE(18, 24)
  image.writeUInt16LE(2, 26)
  image.writeUInt8(0x29, 38)
  image.writeUInt32LE(0x6c756765, 39)
  image.write('cidata     ', 43, 'latin1')
  image.write('FAT12   ', 54, 'latin1')
  image.writeUInt16LE(0xaa55, 510)
}

class Fat12 {
  readonly #image: Buffer
  readonly #fat: number[] = [0xff0, end_of_chain]
  #entry = (reserved_sectors + fats * fat_sectors) * sector_bytes

  constructor(image: Buffer) {
    this.#image = image
  }

  label(name: string): void {
    this.#directory(name.padEnd(11), 0x08, 0, 0)
  }

  /** `short` is the 8.3 name in 11 characters; `long` is what readers show. */
  file(short: string, long: string, content: Buffer): void {
    const clusters = Math.ceil(content.length / sector_bytes)
    const first = this.#fat.length
    if (data_start + first - 2 + clusters > total_sectors) {
      throw new Error(`${long}: ${content.length} bytes do not fit a cidata disk`)
    }
    for (let at = 0; at < clusters; at += 1) {
      this.#fat.push(at === clusters - 1 ? end_of_chain : first + at + 1)
    }
    content.copy(this.#image, (data_start + first - 2) * sector_bytes)
    this.#longName(short, long)
    this.#directory(short, 0x20, clusters === 0 ? 0 : first, content.length)
  }

  finish(): void {
    for (let copy = 0; copy < fats; copy += 1) {
      const start = (reserved_sectors + copy * fat_sectors) * sector_bytes
      for (const [cluster, value] of this.#fat.entries()) {
        const at = start + Math.floor((cluster * 3) / 2)
        const old = this.#image.readUInt16LE(at)
        const isOdd = cluster % 2 === 1
        this.#image.writeUInt16LE(isOdd ? (old & 0xf) | (value << 4) : (old & 0xf000) | value, at)
      }
    }
  }

  /** One VFAT entry, enough for names of up to 13 characters. */
  #longName(short: string, long: string): void {
    let checksum = 0
    for (const byte of Buffer.from(short, 'latin1')) {
      checksum = (((checksum & 1) << 7) + (checksum >> 1) + byte) & 0xff
    }
    const at = this.#entry
    this.#entry += 32
    this.#image.writeUInt8(0x41, at)
    this.#image.writeUInt8(0x0f, at + 11)
    this.#image.writeUInt8(checksum, at + 13)
    const places = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30]
    for (const [index, place] of places.entries()) {
      const unit = index < long.length ? long.charCodeAt(index) : index === long.length ? 0 : 0xffff
      this.#image.writeUInt16LE(unit, at + place)
    }
  }

  #directory(name: string, attributes: number, cluster: number, size: number): void {
    const at = this.#entry
    this.#entry += 32
    this.#image.write(name, at, 11, 'latin1')
    this.#image.writeUInt8(attributes, at + 11)
    this.#image.writeUInt16LE(cluster, at + 26)
    this.#image.writeUInt32LE(size, at + 28)
  }
}
