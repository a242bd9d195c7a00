/** What is kept of repeated measurements. */
export function summarise(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const median = Number.isInteger(middle)
    ? (sorted[middle - 1] + sorted[middle]) / 2
    : sorted[Math.floor(middle)];
  return { median, min: sorted[0], max: sorted.at(-1), n: sorted.length };
}

/** The largest difference from the pinned logits at which an engine that computes in f32 computes the same. */
const SAME = 1e-2;

/**
 * A contender that has started, by what is known of it. In f32 it must compute what the package pins, or its times
 * would mean nothing; int8 differs by its nature, and the report says by how much.
 */
export function checked(facts, rest) {
  const same = facts.precision !== "f32" || facts.difference <= SAME;
  const error = same ? undefined : `its logits differ from the pinned ones by ${facts.difference}`;
  return { facts, ...rest, error };
}

/**
 * Measures all contenders in turn, A B C A B C, so that what changes on the machine meanwhile touches all alike.
 * `measure(contender, round)` gives milliseconds. The first `warmups` rounds do not count. One that fails is left
 * out from then on, and its `error` says why.
 */
export async function inTurns(contenders, { warmups, runs }, measure) {
  const times = new Map(contenders.map((contender) => [contender, []]));
  for (let round = 0; round < warmups + runs; round += 1) {
    for (const contender of contenders.filter(({ error }) => !error)) {
      try {
        const millis = await measure(contender, round);
        if (round >= warmups) times.get(contender).push(millis);
      } catch (error) {
        contender.error = error.message;
      }
    }
  }
  return contenders.map((contender) => {
    const { facts, error } = contender;
    return { ...facts, ...(error ? { error } : summarise(times.get(contender))) };
  });
}
