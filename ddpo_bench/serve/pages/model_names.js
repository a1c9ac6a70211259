/* What a model is called. */

/** A run's name without its seed, which is shown apart. */
export const nameOf = ({ label, seed }) => label.replace(new RegExp(`,? seed ${seed}$`), "");

/** Where a model comes from, in a few words. */
export function originOf({ suite, seed, kind }) {
  const parts = [suite, Number.isFinite(seed) ? `seed ${seed}` : null].filter(Boolean);
  return parts.length ? parts.join(" · ") : { pretrained: "before training", lora: "exported" }[kind];
}
