/** Lists, page by page in every order that they offer: each item once, in order, and a last empty page. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { TestNexus } from './kit.ts'

let nexus: TestNexus
before(async () => {
  nexus = await TestNexus.start()
  await nexus.guide()
  for (const name of ['b', 'a-b', 'ab', 'a0', 'z']) {
    await nexus.ok('POST', '/organizations', { name, description: '' })
    await nexus.ok('POST', '/organizations/myorg/projects', { name, description: '' })
    await nexus.ok('POST', '/system/ip-pools', { name, description: '' })
  }
})
after(async () => {
  await nexus.stop()
})

const lists = ['/organizations', '/organizations/myorg/projects', '/system/ip-pools']

async function walk(
  url: string,
  sort_by: string,
  limit: number,
): Promise<ReadonlyArray<{ id: string; name: string }>> {
  const items: Array<{ id: string; name: string }> = []
  for (let query = `sort_by=${sort_by}`; ;) {
    const page = await nexus.ok('GET', `${url}?limit=${limit}&${query}`)
    assert.ok(page.items.length <= limit)
    items.push(...page.items)
    if (page.next_page === null) return items
    query = `page_token=${page.next_page}`
  }
}

for (const url of lists) {
  test(`${url} has each item once, in the order asked for`, async () => {
    for (const limit of [1, 2, 100]) {
      const names = (await walk(url, 'name_ascending', limit)).map(({ name }) => name)
      const sorted = ['a-b', 'a0', 'ab', 'b']
      assert.deepEqual(names.slice(0, 4), sorted)
      assert.equal(names.length, 6)
      const reverse = (await walk(url, 'name_descending', limit)).map(({ name }) => name)
      assert.deepEqual(reverse, names.toReversed())
      const ids = (await walk(url, 'id_ascending', limit)).map(({ id }) => id)
      assert.deepEqual(ids, ids.toSorted())
      assert.equal(new Set(ids).size, 6)
    }
  })
}
