// The one Trusted Types policy of the page: scripts may be started from blob: addresses that this document
// made itself, and from nowhere else.

type Policy = { createScriptURL(url: string): string | TrustedScriptURL };

let policy: Policy | undefined;

function makePolicy(): Policy {
  const rules = {
    createScriptURL(url: string): string {
      if (url.startsWith("blob:")) return url;
      throw new TypeError("Refused to start a script: only this page's own may run.");
    },
  };
  const types = (globalThis as { trustedTypes?: TrustedTypePolicyFactory }).trustedTypes;
  return types ? types.createPolicy("cloister", rules) : rules;
}

/** Vouches for a script address of our own. */
export function scriptUrl(url: string): string {
  policy ??= makePolicy();
  // The DOM typings know plain strings only; browsers with Trusted Types take the object.
  return policy.createScriptURL(url) as string;
}
