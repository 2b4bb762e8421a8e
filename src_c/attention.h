/* attention.h - how attention.c cuts its work, and the memory that one thread works in. */
#ifndef TDF_ATTENTION_H
#define TDF_ATTENTION_H

#include "gemm.h"

#define ATTENTION_ROWS 48       /* rows of queries by */
#define ATTENTION_KEYS 128      /* keys whose scores are held at a time; a multiple of 16 */

typedef struct {
    real *scores;               /* (ROWS, KEYS) scores, then shares */
    real *slopes;               /* (ROWS, KEYS) gradients of the shares, then of the scores [backward] */
    real *keys_t;               /* packed (D, KEYS): scores are queries times this */
    real *values;               /* packed (KEYS, E) [forward] */
    real *values_t;             /* packed (E, KEYS) [backward] */
    real *keys;                 /* packed (KEYS, D) [backward] */
    real *seen;                 /* (KEYS) 1: the row sees the key */
    real *sums;                 /* of gemm_tn [backward] */
    ptrdiff_t size;
} attention_room;

INLINE real *attention_take(attention_room *room, real *from, ptrdiff_t n)
{
    real *at = from ? from + room->size : NULL;
    room->size += ROUND_UP(n, PANEL);
    return at;
}

/* The parts of the memory at `from`; with NULL, their size alone. */
static inline __attribute__((unused)) attention_room attention_room_of(const tdf_attention *a, real *from)
{
    attention_room r = {.size = 0};
    r.scores = attention_take(&r, from, ATTENTION_ROWS * ATTENTION_KEYS);
    r.slopes = attention_take(&r, from, ATTENTION_ROWS * ATTENTION_KEYS);
    r.keys_t = attention_take(&r, from, gemm_pack_size(a->D, ATTENTION_KEYS));
    r.values = attention_take(&r, from, gemm_pack_size(ATTENTION_KEYS, a->E));
    r.values_t = attention_take(&r, from, gemm_pack_size(a->E, ATTENTION_KEYS));
    r.keys = attention_take(&r, from, gemm_pack_size(ATTENTION_KEYS, a->D));
    r.seen = attention_take(&r, from, ATTENTION_KEYS);
    r.sums = attention_take(&r, from, gemm_tn_scratch(ATTENTION_KEYS));
    return r;
}

#endif
