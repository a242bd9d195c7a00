const TICK_MS = 1000;
/** An idle worker answers in milliseconds; one that computes answers between two units. */
const IDLE_TICKS = 5;
const BUSY_TICKS = 90;

/**
 * Watches a worker by asking it each second for a sign of life. Silence is counted in ticks, not in wall
 * time: after the machine has slept, the first tick must not find a minute of silence.
 */
export class Heartbeat {
  readonly #timer: ReturnType<typeof setInterval>;
  #silentTicks = 0;

  constructor(ping: () => void, busy: () => boolean, dead: () => void) {
    this.#timer = setInterval(() => {
      this.#silentTicks += 1;
      if (this.#silentTicks > (busy() ? BUSY_TICKS : IDLE_TICKS)) {
        this.stop();
        dead();
      } else {
        ping();
      }
    }, TICK_MS);
  }

  /** Any message of the worker counts. */
  heard(): void {
    this.#silentTicks = 0;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
