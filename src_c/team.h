/* team.h - the threads that kernels share: one team a process, which sleeps when there is nothing to do.
 *
 * A job is cut into parts, and any thread of the team may run any of them. Whoever asks runs part 0, and then
 * each part that nobody has begun. So a thread that has no processor, because another program has it, holds
 * nobody up, and results do not depend on who ran what. A thread that waits looks for work for some
 * microseconds and then sleeps.
 *
 * A part that was begun cannot be taken over: where another program takes the processor of the thread that
 * began it, the caller waits for one of that program's turns, some milliseconds, however small the part
 * is. So the team weighs what its last thread saves against what the caller loses, and works with one
 * thread fewer for a while where that does not pay: no more than a tenth of the time is lost so.
 *
 * A second caller does not wait for the team: it runs its whole job itself. After a fork the child makes a
 * team of its own.
 */
#ifndef TDF_TEAM_H
#define TDF_TEAM_H

#define TEAM_MOST 1024                  /* threads */

/* One part of a job; parts is how many there are. */
typedef void (*team_body)(void *job, int part, int parts);

/* How many of so many threads, at least 2, are worth it: fewer where other programs keep processors busy. */
int tdf_team_worth(int threads);

/* body(job, i, parts) for i = 0 .. parts - 1, at most TEAM_MOST of them, in any order and on any thread. */
void tdf_team_run(team_body body, void *job, int parts);

/* The same for parts that wait for one another in tdf_team_wait: each has a thread of its own, and there
 * are as many of them as threads came in time, `parts` at the most. */
void tdf_team_run_together(team_body body, void *job, int parts);

/* Where every part of a tdf_team_run_together waits for the others. Each must call it equally often. */
void tdf_team_wait(void);

#endif
