import type { EngineError } from "../../../crates/cloister-wasm/src/types.ts";

/** An error of the engine, its worker or its files. `message` is for the user. */
export class EngineFault extends Error implements EngineError {
  override readonly name = "EngineFault";

  constructor(
    readonly kind: string,
    message: string,
  ) {
    super(message);
  }

  static from(error: unknown): EngineFault {
    if (error instanceof EngineFault) return error;
    if (error instanceof Error) return new EngineFault("page", error.message);
    return new EngineFault("page", String(error));
  }
}
