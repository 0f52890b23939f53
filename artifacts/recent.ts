/**
 * More than the work of a moment, so that little is looked up twice: one run uses some twenty names. And little
 * enough that a process is not days older before it has as many as it will ever have.
 */
export const KEPT = 1000;

/** What was found of the names that were last in use; those long unused are forgotten. */
export class Recent<Value> {
  readonly #values = new Map<string, Value>();

  get(name: string): Value | undefined {
    const value = this.#values.get(name);
    if (value !== undefined) this.set(name, value);
    return value;
  }

  set(name: string, value: Value): void {
    this.#values.delete(name);
    this.#values.set(name, value);
    if (this.#values.size > KEPT) this.#values.delete(this.#values.keys().next().value as string);
  }
}
