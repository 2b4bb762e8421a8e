/* span.h - a static split of independent work over the threads of team.h.
 *
 * Every part writes its own outputs, and no sum crosses a part, so results do not depend on the
 * number of parts: there may be fewer than a kernel asked for, see tdf_team_worth.
 */
#ifndef TDF_SPAN_H
#define TDF_SPAN_H

#include <stdatomic.h>

#include "team.h"
#include "vec.h"

/* Operations worth the waking of one more thread (some 10 microseconds of work). Whoever checks the kernels
 * defines a small one; then all threads work, also where other programs keep processors busy. */
#ifdef SPAN_GRAIN
#define SPAN_WORTH(threads) (threads)
#else
#define SPAN_GRAIN 600000.0
#define SPAN_WORTH(threads) tdf_team_worth(threads)
#endif

/* How many threads this much arithmetic deserves, at most max. Memory-bound work counts 16 a value. */
static inline __attribute__((unused)) int span_threads(double operations, int max)
{
    double n = 1 + operations / SPAN_GRAIN;
    return n < max ? (int)n : max;
}

/* Part i of n items in whole blocks; the first parts get the larger shares. */
static inline __attribute__((unused)) void span_part(
    ptrdiff_t n, ptrdiff_t block, int parts, int i, ptrdiff_t *lo, ptrdiff_t *hi)
{
    ptrdiff_t blocks = (n + block - 1) / block, each = blocks / parts, extra = blocks % parts;
    ptrdiff_t first = i * each + (i < extra ? i : extra), last = first + each + (i < extra);
    *lo = first * block < n ? first * block : n;
    *hi = last * block < n ? last * block : n;
}

typedef void (*span_body)(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part);

typedef struct {
    span_body body;
    const void *args;
    ptrdiff_t n, block;
    atomic_ptrdiff_t next;              /* of span_deal: the first item that nobody has taken */
} span_job;

static __attribute__((unused)) void span_one(void *job, int part, int parts)
{
    const span_job *j = job;
    ptrdiff_t lo, hi;
    unsigned long mode = v_enter_mode();
    span_part(j->n, j->block, parts, part, &lo, &hi);
    if (lo < hi) j->body(j->args, lo, hi, part);
    v_leave_mode(mode);
}

static __attribute__((unused)) void span_blocks(void *job, int part, int parts)
{
    span_job *j = job;
    ptrdiff_t lo;
    (void)parts;
    unsigned long mode = v_enter_mode();
    while ((lo = atomic_fetch_add(&j->next, j->block)) < j->n)
        j->body(j->args, lo, lo + j->block < j->n ? lo + j->block : j->n, part);
    v_leave_mode(mode);
}

/* All of it by the caller; where the body is known, the compiler puts it in place. */
static inline __attribute__((unused)) void span_all(span_body body, const void *args, ptrdiff_t n)
{
    unsigned long mode = v_enter_mode();
    if (n > 0) body(args, 0, n, 0);
    v_leave_mode(mode);
}

/* How many threads work now, of those that a kernel counts with: as many at most. */
static inline __attribute__((unused)) int span_now(int threads)
{
    return threads < 2 ? 1 : SPAN_WORTH(threads < TEAM_MOST ? threads : TEAM_MOST);
}

/* body(args, lo, hi, part) for disjoint ranges that make up 0..n, cut at multiples of block. */
static inline __attribute__((unused)) void span_run(
    span_body body, const void *args, ptrdiff_t n, ptrdiff_t block, int threads)
{
    if ((threads = span_now(threads)) < 2) {
        span_all(body, args, n);
        return;
    }
    span_job job = {.body = body, .args = args, .n = n, .block = block};
    tdf_team_run(span_one, &job, threads);
}

/* The same for parts that wait for one another in span_wait, and of which none is empty. */
static inline __attribute__((unused)) void span_run_together(
    span_body body, const void *args, ptrdiff_t n, ptrdiff_t block, int threads)
{
    if ((threads = span_now(threads)) < 2) {
        span_all(body, args, n);
        return;
    }
    span_job job = {.body = body, .args = args, .n = n, .block = block};
    tdf_team_run_together(span_one, &job, threads);
}

static inline __attribute__((unused)) void span_wait(void) { tdf_team_wait(); }

/* The same for items of unlike work, the largest first: each thread takes the next block when it is free. */
static inline __attribute__((unused)) void span_deal(
    span_body body, const void *args, ptrdiff_t n, ptrdiff_t block, int threads)
{
    if ((threads = span_now(threads)) < 2) {
        span_all(body, args, n);
        return;
    }
    span_job job = {.body = body, .args = args, .n = n, .block = block};
    tdf_team_run(span_blocks, &job, threads);
}

#endif
