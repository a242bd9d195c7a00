/** A probability as a whole percentage that never claims certainty. */
export function percent(probability: number): string {
  if (probability > 0 && probability < 0.01) return "under 1%";
  if (probability < 1 && probability > 0.99) return "over 99%";
  return `${Math.round(probability * 100)}%`;
}
