import type { Duck } from '../duck.ts';

/**
 * Rows of users and items with fewer than `k` rows leave `kept`, until nothing changes; the result is the same in any
 * order.
 */
export async function keepCore(duck: Duck, k: number) {
  const tooFew = (key: string) => `${key} IN (SELECT ${key} FROM kept GROUP BY ${key} HAVING count(*) < ${k})`;
  let belowCore = 0;
  let coreRounds = 0;
  for (;;) {
    const dropped = k > 1 ? await duck.run(`DELETE FROM kept WHERE ${tooFew('u')} OR ${tooFew('i')}`) : 0;
    if (dropped === 0) break;
    belowCore += dropped;
    coreRounds++;
  }
  const left = await duck.numbers<'kept' | 'users' | 'items'>(
    'SELECT count(*) AS kept, count(DISTINCT u) AS users, count(DISTINCT i) AS items FROM kept',
  );
  return { belowCore, coreRounds, ...left };
}

/** Moves the rows after `trainUntil` from `kept` to the table `later`, so that they cannot decide what is trained on. */
export async function setLaterAside(duck: Duck, trainUntilMs: number): Promise<void> {
  await duck.run(`CREATE TABLE later AS SELECT * FROM kept WHERE time_ms > ${trainUntilMs}`);
  await duck.run(`DELETE FROM kept WHERE time_ms > ${trainUntilMs}`);
}

/**
 * Rows of `later` that can be asked about come back: those of the core's users and items. An item that is not in the
 * catalogue cannot be ranked, so it is neither a target nor part of a history; how many targets that costs is counted.
 */
export async function addLater(duck: Duck, testAfterMs: number) {
  const counts = await duck.numbers<'later' | 'laterOtherUser' | 'laterOtherItem' | 'targetsOutsideCatalogue'>(`
    SELECT count(*) AS later, count_if(NOT known_user) AS "laterOtherUser",
      count_if(known_user AND NOT known_item) AS "laterOtherItem",
      count_if(known_user AND NOT known_item AND time_ms > ${testAfterMs}) AS "targetsOutsideCatalogue"
    FROM (SELECT time_ms, u IN (SELECT u FROM kept) AS known_user, i IN (SELECT i FROM kept) AS known_item FROM later)`);
  await duck.run(`DELETE FROM later WHERE u NOT IN (SELECT u FROM kept) OR i NOT IN (SELECT i FROM kept)`);
  await duck.run('INSERT INTO kept SELECT * FROM later');
  await duck.run('DROP TABLE later');
  return counts;
}
