// SPDX-License-Identifier: Apache-2.0
//
// Why something does not hold, in words for people and as one of the reasons
// of section 8 that two verifiers can compare.

export type Reason =
  | 'damaged-leaf'
  | 'algorithm'
  | 'duplicate'
  | 'equivocation'
  | 'past'
  | 'link'
  | 'opening'
  | 'counters'
  | 'tenant'
  | 'enrolment'
  | 'revoked'
  | 'seen'
  | 'body'
  | 'body-missing'
  | 'eviction'
  | 'retire'
  | 'hold'
  | 'release'
  | 'hole'
  | 'restart'
  | 'loss'
  | 'checkpoint'
  | 'quorum'
  | 'prior'
  | 'segment'
  | 'root'
  | 'tile'
  | 'receipt'
  | 'bundle'
  | 'note';

// Untrusted bytes that are not what they should be: a finding, never an end of the program.
export class Refusal extends Error {
  constructor(
    readonly reason: Reason,
    message: string,
  ) {
    super(message);
  }
}

// The trail can't be read or judged; nothing is said about it.
export class OperationalError extends Error {
  constructor(
    message: string,
    readonly exitCode: number,
  ) {
    super(message);
  }
}

// `error` as a refusal. A parser's own errors count as `reason`; what else goes
// wrong with the machine is passed on.
export function refusal(error: unknown, reason: Reason): Refusal {
  if (error instanceof OperationalError) throw error;
  return error instanceof Refusal ? error : new Refusal(reason, (error as Error).message);
}
