// What the wasm-bindgen glue (target no-modules) puts into the worker's global scope.
declare const wasm_bindgen: {
  (init: { module_or_path: ArrayBuffer }): Promise<unknown>;
  inspect: typeof import("../../../crates/cloister-wasm/src/types.ts").inspect;
  Engine: typeof import("../../../crates/cloister-wasm/src/types.ts").Engine;
};
