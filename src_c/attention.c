/* attention.c - y = softmax(scale q k^T) v of every head, and back.
 *
 * No more than ATTENTION_ROWS x ATTENTION_KEYS scores of a head exist at a time. Forward goes through the
 * keys block by block and keeps, of each row, the largest score so far and the sum of e^(score - largest);
 * what an earlier block has added is scaled when the largest grows. Backward makes the scores again and the
 * shares from these two numbers. They are kept apart: a row that sees nothing has scores near -1e9, where the
 * logarithm of the sum would be lost.
 *
 * A row's sums go over the keys in ascending order, those of a key over the heads that share it and then over
 * the rows, whatever the number of threads.
 */
#include "act.h"
#include "attention.h"
#include "span.h"

#define HIDDEN ((real)-1e9)     /* the score of a key that is not seen, or what is added to it */
#define BLIND ((real)-9e8)      /* the largest score of a row that sees nothing is below this */

typedef struct {
    const tdf_attention *a;
    ptrdiff_t chunk, chunks;    /* rows of an item of forward, and items of a head */
} attention_work;

/* ------------------------------------------------------------------ what a row sees */

/* Whether no row t0..t1 sees one of the keys s0..s1, by their places alone. */
static int out_of_sight(const tdf_attention *a, ptrdiff_t t0, ptrdiff_t t1, ptrdiff_t s0, ptrdiff_t s1)
{
    if (a->causal && s0 >= t1) return 1;
    return a->window && (s0 - (t1 - 1) >= a->window || t0 - (s1 - 1) >= a->window);
}

/* Which of n keys from s0 row t of a head sees: `seen` filled with 1 and 0, or NULL if it sees them all. */
static const real *seen_by(const tdf_attention *a, ptrdiff_t b, ptrdiff_t h, ptrdiff_t t, ptrdiff_t s0,
                           ptrdiff_t n, real *seen)
{
    ptrdiff_t lo = 0, hi = n;                           /* by its place it sees keys lo..hi of these */
    if (a->causal) hi = min_size(hi, t + 1 - s0);
    if (a->window) {
        hi = min_size(hi, t + a->window - s0);
        if (t - a->window + 1 - s0 > lo) lo = t - a->window + 1 - s0;
    }
    if (a->queries && !a->queries[b * a->T + t]) hi = 0;
    if (lo == 0 && hi == n && !a->keys && !a->mask) return NULL;
    for (ptrdiff_t j = 0; j < n; j++) seen[j] = j >= lo && j < hi;
    if (a->keys) {
        const uint8_t *keys = a->keys + b * a->S + s0;
        for (ptrdiff_t j = 0; j < n; j++) seen[j] = keys[j] ? seen[j] : 0;
    }
    if (a->mask) {
        const uint8_t *mask = a->mask + b * a->mask_b + h * a->mask_h + t * a->mask_t + s0 * a->mask_s;
        for (ptrdiff_t j = 0; j < n; j++) seen[j] = mask[j * a->mask_s] ? seen[j] : 0;
    }
    for (ptrdiff_t j = n; j < ROUND_UP(n, PANEL); j++) seen[j] = 0;
    return seen;
}

/* The score of a product of query and key; -infinity in the lanes past the n-th. `seen` may be NULL. */
INLINE vf score_of(vf product, vf scale, int moved, const real *seen, ptrdiff_t n)
{
    vf x = v_mul(product, scale);
    if (seen) {
        vf hidden = moved ? v_add(x, v_set1(HIDDEN)) : v_set1(HIDDEN);
        x = v_select(v_lt(v_zero(), v_load(seen)), x, hidden);
    }
    return n < VL ? act_first(x, n < 0 ? 0 : n, -INFINITY) : x;
}

INLINE real *stats_of(const tdf_attention *a, ptrdiff_t b, ptrdiff_t h, ptrdiff_t t)
{
    return a->stats + ((b * a->H + h) * a->T + t) * 2;
}

/* Whether one of these rows sees nothing, or nothing but scores that are as small: then keys out of sight
 * have a share in it. */
static int some_blind(const tdf_attention *a, ptrdiff_t b, ptrdiff_t h, ptrdiff_t t0, ptrdiff_t rows)
{
    const real *stats = stats_of(a, b, h, t0);
    for (ptrdiff_t r = 0; r < rows; r++)
        if (!(stats[2 * r] > BLIND)) return 1;
    return 0;
}

/* ------------------------------------------------------------------ forward */

INLINE void multiply(ptrdiff_t n, real *y, vf factor)
{
    for (ptrdiff_t j = 0; j < n; j += VL) v_put(y + j, v_mul(v_get(y + j, n - j), factor), n - j);
}

/* A row's products with n keys become their scores; the largest. */
INLINE real scores_of(const tdf_attention *a, ptrdiff_t n, const real *seen, real *x)
{
    v16 most = v16_set1(-INFINITY);
    vf scale = v_set1((real)a->scale);
    int moved = a->moved;
    for (ptrdiff_t i = 0; i < n; i += PANEL)
        for (int s = 0; s < PANEL / VL; s++) {
            ptrdiff_t at = i + s * VL;
            vf score = score_of(v_load(x + at), scale, moved, seen ? seen + at : NULL, n - at);
            most.v[s] = v_max(score, most.v[s]);
            v_store(x + at, score);
        }
    return v16_max(most);
}

/* n scores become e^(score - largest), or 0 where `kept` is not NULL and 0; the sum before that. */
INLINE real exponentials(ptrdiff_t n, real largest, const real *kept, real *x)
{
    v16 sum = v16_set1(0);
    vf shift = v_set1(largest);
    for (ptrdiff_t i = 0; i < n; i += PANEL)
        for (int s = 0; s < PANEL / VL; s++) {
            ptrdiff_t at = i + s * VL;
            vf e = v_exp_negative(v_sub(v_load(x + at), shift));
            sum.v[s] = v_add(sum.v[s], e);
            v_store(x + at, kept ? v_mul(e, v_load(kept + at)) : e);
        }
    return v16_sum(sum);
}

/* A row's products with n keys become e^(score - largest); its stats and y so far are brought to these. */
static void soften(const tdf_attention *a, ptrdiff_t n, const real *seen, real *x, real *stats, real *y)
{
    real before = stats[0], now = seen ? scores_of(a, n, seen, x) : scores_of(a, n, NULL, x);
    if (!(now > before)) now = before;
    real sum = a->zero && seen ? exponentials(n, now, seen, x) : exponentials(n, now, NULL, x);
    if (now > before) {
        vf factor = v_exp(v_set1(before - now));
        stats[1] *= act_first_lane(factor);
        multiply(a->E, y, factor);
        stats[0] = now;
    }
    stats[1] += sum;
}

static void forward_block(const tdf_attention *a, const attention_room *room, ptrdiff_t b, ptrdiff_t h,
                          ptrdiff_t t0, ptrdiff_t rows, ptrdiff_t s0, ptrdiff_t n)
{
    ptrdiff_t width = ROUND_UP(n, PANEL), first = (b * a->T + t0) * a->H + h;
    real *y = a->y + first * a->E;
    gemm_nn_args scores = {.M = rows, .K = a->D, .N = width, .a = a->q + first * a->D, .ar = a->H * a->D,
                           .b = room->keys_t, .c = room->scores, .cr = width};
    TDF_NAME(gemm_nn)(&scores);
    for (ptrdiff_t r = 0; r < rows; r++) {
        const real *seen = seen_by(a, b, h, t0 + r, s0, n, room->seen);
        soften(a, n, seen, room->scores + r * width, stats_of(a, b, h, t0 + r), y + r * a->H * a->E);
    }
    gemm_nn_args weigh = {.M = rows, .K = n, .N = a->E, .a = room->scores, .ar = width, .b = room->values,
                          .add = 1, .c = y, .cr = a->H * a->E};
    TDF_NAME(gemm_nn)(&weigh);
}

static void pack_forward(const tdf_attention *a, const attention_room *room, ptrdiff_t b, ptrdiff_t g,
                         ptrdiff_t s0, ptrdiff_t n)
{
    ptrdiff_t first = (b * a->S + s0) * a->G + g;
    TDF_NAME(gemm_pack)(a->D, n, a->k + first * a->D, 1, a->G * a->D, room->keys_t, 0, n);
    TDF_NAME(gemm_pack)(n, a->E, a->v + first * a->E, a->G * a->E, 1, room->values, 0, a->E);
}

static void begin_rows(const tdf_attention *a, ptrdiff_t b, ptrdiff_t h, ptrdiff_t t0, ptrdiff_t t1)
{
    for (ptrdiff_t t = t0; t < t1; t++) {
        real *stats = stats_of(a, b, h, t);
        stats[0] = -INFINITY;
        stats[1] = 0;
        memset(a->y + ((b * a->T + t) * a->H + h) * a->E, 0, (size_t)a->E * sizeof(real));
    }
}

/* The rows' sums of e^(score - largest) become factors, and y is scaled with them. */
static void end_rows(const tdf_attention *a, ptrdiff_t b, ptrdiff_t h, ptrdiff_t t0, ptrdiff_t t1)
{
    for (ptrdiff_t t = t0; t < t1; t++) {
        real *stats = stats_of(a, b, h, t), *y = a->y + ((b * a->T + t) * a->H + h) * a->E;
        stats[1] = a->S ? 1 / stats[1] : 0;
        vf factor = v_set1(stats[1]);
        multiply(a->E, y, factor);
    }
}

/* These rows again, with all keys: one of them sees nothing. */
static void forward_all_keys(const tdf_attention *a, const attention_room *room, ptrdiff_t b, ptrdiff_t h,
                             ptrdiff_t t0, ptrdiff_t rows)
{
    begin_rows(a, b, h, t0, t0 + rows);
    for (ptrdiff_t s0 = 0; s0 < a->S; s0 += ATTENTION_KEYS) {
        ptrdiff_t n = min_size(ATTENTION_KEYS, a->S - s0);
        pack_forward(a, room, b, h / (a->H / a->G), s0, n);
        forward_block(a, room, b, h, t0, rows, s0, n);
    }
}

/* Items lo..hi: each is some rows of the queries that share one head of keys. */
static void forward_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const attention_work *w = args;
    const tdf_attention *a = w->a;
    ptrdiff_t share = a->H / a->G;
    attention_room room = attention_room_of(a, NULL);
    room = attention_room_of(a, a->scratch + part * room.size);
    for (ptrdiff_t i = lo; i < hi; i++) {
        ptrdiff_t b = i / w->chunks / a->G, g = i / w->chunks % a->G, from = i % w->chunks * w->chunk;
        ptrdiff_t to = min_size(from + w->chunk, a->T), first = g * share, last = first + share;
        for (ptrdiff_t h = first; h < last; h++) begin_rows(a, b, h, from, to);
        for (ptrdiff_t s0 = 0; s0 < a->S; s0 += ATTENTION_KEYS) {
            ptrdiff_t n = min_size(ATTENTION_KEYS, a->S - s0);
            if (out_of_sight(a, from, to, s0, s0 + n)) continue;
            pack_forward(a, &room, b, g, s0, n);
            for (ptrdiff_t h = first; h < last; h++)
                for (ptrdiff_t t = from; t < to; t += ATTENTION_ROWS) {
                    ptrdiff_t rows = min_size(ATTENTION_ROWS, to - t);
                    if (!out_of_sight(a, t, t + rows, s0, s0 + n))
                        forward_block(a, &room, b, h, t, rows, s0, n);
                }
        }
        for (ptrdiff_t h = first; h < last; h++) {
            if (a->causal || a->window)
                for (ptrdiff_t t = from; t < to; t += ATTENTION_ROWS) {
                    ptrdiff_t rows = min_size(ATTENTION_ROWS, to - t);
                    if (some_blind(a, b, h, t, rows)) forward_all_keys(a, &room, b, h, t, rows);
                }
            end_rows(a, b, h, from, to);
        }
    }
}

void TDF_NAME(attention_forward)(const tdf_attention *a)
{
    double scores = (double)(a->B * a->H) * (double)a->T * (double)a->S;
    double work = 2 * scores * (double)(a->D + a->E + 16);
    int threads = span_threads(work, a->threads);
    ptrdiff_t heads = a->B * a->G, parts = heads ? (2 * threads + heads - 1) / heads : 1;
    attention_work w = {.a = a, .chunk = ROUND_UP((a->T + parts - 1) / parts, ATTENTION_ROWS)};
    if (threads == 1 || w.chunk == 0) w.chunk = ROUND_UP(a->T, ATTENTION_ROWS) + ATTENTION_ROWS;
    w.chunks = (a->T + w.chunk - 1) / w.chunk;
    span_deal(forward_body, &w, heads * w.chunks, 1, threads);
}

/* ------------------------------------------------------------------ backward */

/* A row's products with n keys become its shares, and the gradients of the shares those of the products. */
INLINE void soften_backward(const tdf_attention *a, ptrdiff_t n, const real *seen, real *x, real *d,
                            const real *stats, real mean)
{
    vf shift = v_set1(stats[0]), factor = v_set1(stats[1]), all = v_set1(mean);
    vf scale = v_set1((real)a->scale);
    int moved = a->moved, drop = a->zero && seen, still = seen && !moved;
    for (ptrdiff_t at = 0; at < n; at += VL) {
        vf score = score_of(v_load(x + at), scale, moved, seen ? seen + at : NULL, n - at);
        vf p = v_mul(v_exp_negative(v_sub(score, shift)), factor);      /* e^(score - largest) / sum */
        vf slope = v_mul(v_mul(p, v_sub(v_load(d + at), all)), scale);
        if (still) slope = v_select(v_lt(v_zero(), v_load(seen + at)), slope, v_zero());
        v_store(x + at, drop ? v_mul(p, v_load(seen + at)) : p);
        v_store(d + at, slope);
    }
}

/* sum of dy y: that of the shares times their gradients */
static real mean_slope(ptrdiff_t n, const real *dy, const real *y)
{
    v16 sum = v16_set1(0);
    for (ptrdiff_t i = 0; i < n; i += PANEL)
        for (int s = 0; s < PANEL / VL; s++) {
            ptrdiff_t at = i + s * VL;
            if (at < n) sum.v[s] = v_fma(v_get(dy + at, n - at), v_get(y + at, n - at), sum.v[s]);
        }
    return v16_sum(sum);
}

static void backward_block(const tdf_attention *a, const attention_room *room, ptrdiff_t b, ptrdiff_t h,
                           ptrdiff_t t0, ptrdiff_t rows, ptrdiff_t s0, ptrdiff_t n)
{
    ptrdiff_t width = ROUND_UP(n, PANEL), first = (b * a->T + t0) * a->H + h;
    ptrdiff_t key = (b * a->S + s0) * a->G + h / (a->H / a->G), qr = a->H * a->D, yr = a->H * a->E;
    const real *q = a->q + first * a->D, *dy = a->dy + first * a->E, *y = a->y + first * a->E;
    gemm_nn_args scores = {.M = rows, .K = a->D, .N = width, .a = q, .ar = qr, .b = room->keys_t,
                           .c = room->scores, .cr = width};
    TDF_NAME(gemm_nn)(&scores);
    gemm_nn_args dshares = {.M = rows, .K = a->E, .N = width, .a = dy, .ar = yr, .b = room->values_t,
                            .c = room->slopes, .cr = width};            /* y = shares values */
    TDF_NAME(gemm_nn)(&dshares);
    for (ptrdiff_t r = 0; r < rows; r++) {                              /* shares = softmax(scores) */
        const real *seen = seen_by(a, b, h, t0 + r, s0, n, room->seen);
        real *x = room->scores + r * width, *d = room->slopes + r * width, *stats = stats_of(a, b, h, t0 + r);
        real mean = mean_slope(a->E, dy + r * yr, y + r * yr);
        if (seen) soften_backward(a, n, seen, x, d, stats, mean);
        else soften_backward(a, n, NULL, x, d, stats, mean);
    }
    gemm_tn_args dvalues = {.K = rows, .m0 = 0, .m1 = n, .n0 = 0, .n1 = a->E, .a = room->scores, .ak = width,
                            .b = dy, .bk = yr, .c = a->dv + key * a->E, .cr = a->G * a->E, .add = 1,
                            .scratch = room->sums};                     /* y = shares values */
    TDF_NAME(gemm_tn)(&dvalues);
    gemm_tn_args dkeys = {.K = rows, .m0 = 0, .m1 = n, .n0 = 0, .n1 = a->D, .a = room->slopes, .ak = width,
                          .b = q, .bk = qr, .c = a->dk + key * a->D, .cr = a->G * a->D, .add = 1,
                          .scratch = room->sums};                       /* scores = queries keys^T */
    TDF_NAME(gemm_tn)(&dkeys);
    gemm_nn_args dqueries = {.M = rows, .K = n, .N = a->D, .a = room->slopes, .ar = width, .b = room->keys,
                             .add = 1, .c = a->dq + first * a->D, .cr = qr};    /* scores = queries keys^T */
    TDF_NAME(gemm_nn)(&dqueries);
}

static void clear(real *at, ptrdiff_t rows, ptrdiff_t step, ptrdiff_t n)
{
    for (ptrdiff_t r = 0; r < rows; r++) memset(at + r * step, 0, (size_t)n * sizeof(real));
}

/* Items lo..hi: each is a head of keys with the queries that share it. */
static void backward_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_attention *a = args;
    ptrdiff_t share = a->H / a->G;
    attention_room room = attention_room_of(a, NULL);
    room = attention_room_of(a, a->scratch + part * room.size);
    for (ptrdiff_t i = lo; i < hi; i++) {
        ptrdiff_t b = i / a->G, g = i % a->G, first = g * share, last = first + share;
        ptrdiff_t key = b * a->S * a->G + g;
        clear(a->dk + key * a->D, a->S, a->G * a->D, a->D);
        clear(a->dv + key * a->E, a->S, a->G * a->E, a->E);
        clear(a->dq + (b * a->T * a->H + first) * a->D, a->T, a->H * a->D, share * a->D);
        for (ptrdiff_t s0 = 0; s0 < a->S; s0 += ATTENTION_KEYS) {
            ptrdiff_t n = min_size(ATTENTION_KEYS, a->S - s0), at = key + s0 * a->G;
            TDF_NAME(gemm_pack)(a->D, n, a->k + at * a->D, 1, a->G * a->D, room.keys_t, 0, n);
            TDF_NAME(gemm_pack)(n, a->D, a->k + at * a->D, a->G * a->D, 1, room.keys, 0, a->D);
            TDF_NAME(gemm_pack)(a->E, n, a->v + at * a->E, 1, a->G * a->E, room.values_t, 0, n);
            for (ptrdiff_t h = first; h < last; h++)
                for (ptrdiff_t t = 0; t < a->T; t += ATTENTION_ROWS) {
                    ptrdiff_t rows = min_size(ATTENTION_ROWS, a->T - t);
                    if (!out_of_sight(a, t, t + rows, s0, s0 + n) || some_blind(a, b, h, t, rows))
                        backward_block(a, &room, b, h, t, rows, s0, n);
                }
        }
    }
}

void TDF_NAME(attention_backward)(const tdf_attention *a)
{
    double scores = (double)(a->B * a->H) * (double)a->T * (double)a->S;
    double work = 2 * scores * (double)(3 * a->D + 2 * a->E + 16);
    span_deal(backward_body, a, a->B * a->G, 1, span_threads(work, a->threads));
}
