/* rnn_common.h - what lstm.c, gru.c and rnn.c share: steps, masks, states, and the way back.
 *
 * Rows of the batch are independent. They are split over threads, and each thread runs its rows
 * through all steps without a barrier. A batch of few rows of a large layer is split over its units
 * instead, and the threads wait for each other after each step.
 *
 * A masked step leaves the state as it was; its output is the one before it (0 if there is none, or
 * with mask_zero_output), and its gradients pass through.
 */
#ifndef TDF_RNN_COMMON_H
#define TDF_RNN_COMMON_H

#include "act.h"
#include "gemm.h"
#include "rnn_layout.h"
#include "span.h"
#include "tile.h"

#define RNN_FN static __attribute__((unused))

/* ------------------------------------------------------------------ steps and masks */

typedef struct {
    const tdf_rnn *a;
    const rnn_memory *m;
    ptrdiff_t t;                /* the step */
    const real *in;             /* (B, K) of this step */
    real *next;                 /* (B, K) of the next: h goes there */
    const real *before;         /* (B, Hp) rnn_memory's `state` before and */
    real *after;                /* after the step */
    real *h;                    /* (B, Hp) the state h */
    ptrdiff_t u0, u1;           /* the units to compute: all Hp, or a thread's share */
} rnn_step;

/* A step of the sequence as the caller counts them. */
INLINE ptrdiff_t source_step(const tdf_rnn *a, ptrdiff_t t) { return a->reverse ? a->T - 1 - t : t; }

INLINE int is_valid(const tdf_rnn *a, ptrdiff_t b, ptrdiff_t t)
{
    return !a->mask || a->mask[b * a->T + source_step(a, t)];
}

RNN_FN int any_valid(const tdf_rnn *a, ptrdiff_t b, ptrdiff_t rows, ptrdiff_t t)
{
    if (!a->mask) return 1;
    for (ptrdiff_t r = 0; r < rows; r++)
        if (is_valid(a, b + r, t)) return 1;
    return 0;
}

/* Whether the tile that row b is in has a valid row at this step; tiles are counted from lo. */
INLINE int is_live(const tdf_rnn *a, ptrdiff_t b, ptrdiff_t lo, ptrdiff_t hi, ptrdiff_t t)
{
    ptrdiff_t start = b - (b - lo) % TILE_MAX_ROWS;
    return any_valid(a, start, hi - start < TILE_MAX_ROWS ? hi - start : TILE_MAX_ROWS, t);
}

/* The next rows, from *b to the result, of lo..hi whose tiles are live; none if *b is hi. */
RNN_FN ptrdiff_t next_live(const tdf_rnn *a, ptrdiff_t *b, ptrdiff_t lo, ptrdiff_t hi, ptrdiff_t t)
{
    if (!a->mask) return hi;
    while (*b < hi && !is_live(a, *b, lo, hi, t)) *b += TILE_MAX_ROWS;
    ptrdiff_t end = *b;
    while (end < hi && is_live(a, end, lo, hi, t)) end += TILE_MAX_ROWS;
    if (*b > hi) *b = hi;
    return end < hi ? end : hi;
}

#define FOR_LIVE_ROWS(b, end, a, lo, hi, t)                                                        \
    for (ptrdiff_t b = lo, end; end = next_live(a, &b, lo, hi, t), b < hi; b = end)

/* The rows of a batch over threads. With a mask they differ in length: see span_deal. */
INLINE void run_rows(span_body body, const tdf_rnn *a, int threads)
{
    ptrdiff_t block = (a->B / 8 + TILE_MAX_ROWS - 1) / TILE_MAX_ROWS * TILE_MAX_ROWS;
    if (a->mask) span_deal(body, a, a->B, block < TILE_MAX_ROWS ? TILE_MAX_ROWS : block, threads);
    else span_run(body, a, a->B, 1, threads);
}

/* Where y of (row b, unit u) goes at this step, or NULL if nobody asked for it. */
INLINE real *output(const rnn_step *s, ptrdiff_t b, ptrdiff_t u)
{
    const tdf_rnn *a = s->a;
    if (a->sequences) return a->y + (b * a->T + s->t) * a->H + u;
    return s->t == a->T - 1 || a->mask ? a->y + b * a->H + u : NULL;
}

/* Stores a new h everywhere it belongs: the state, the next step's input row and the output. */
INLINE void put_h(const rnn_step *s, ptrdiff_t b, ptrdiff_t u, ptrdiff_t units, vf h)
{
    const tdf_rnn *a = s->a;
    real *y = output(s, b, u);
    v_store(s->h + b * s->m->Hp + u, h);
    if (y) v_put(y, h, units);
    if (a->rec_drop) h = v_mul(h, units > 0 ? v_get(a->rec_drop + b * a->H + u, units) : v_zero());
    v_store(s->next + b * s->m->K + a->I + u, h);
}

/* A masked step of n units: the state goes on as it was; the output is the one before it, or 0. */
RNN_FN void skip_step(const rnn_step *s, ptrdiff_t b, ptrdiff_t u, ptrdiff_t n)
{
    const tdf_rnn *a = s->a;
    const rnn_memory *m = s->m;
    ptrdiff_t units = a->H - u < n ? a->H - u : n;
    size_t bytes = (size_t)n * sizeof(real);
    memcpy(s->next + b * m->K + a->I + u, s->in + b * m->K + a->I + u, bytes);
    if (s->after != s->before) memcpy(s->after + b * m->Hp + u, s->before + b * m->Hp + u, bytes);
    real *y = output(s, b, u);
    int first = s->t == 0, last = s->t == a->T - 1;
    if (!y || units <= 0) return;
    if (first || (a->mask_zero_output && (a->sequences || last))) memset(y, 0, (size_t)units * sizeof(real));
    else if (a->sequences) memcpy(y, y - a->H, (size_t)units * sizeof(real));
}

/* ------------------------------------------------------------------ forward */

RNN_FN void copy_padded(real *to, const real *from, ptrdiff_t n, ptrdiff_t padded)
{
    if (from) memcpy(to, from, (size_t)n * sizeof(real));
    else n = 0;
    memset(to + n, 0, (size_t)(padded - n) * sizeof(real));
}

/* x of step t, rows lo..hi, into the rows that the product reads. */
INLINE void take_inputs(const tdf_rnn *a, const rnn_memory *m, ptrdiff_t t, real *in, ptrdiff_t lo, ptrdiff_t hi)
{
    for (ptrdiff_t b = lo; b < hi; b++)
        if (is_valid(a, b, t))
            memcpy(in + b * m->K, a->x + (b * a->T + source_step(a, t)) * a->I, (size_t)a->I * sizeof(real));
}

/* Units u0..u1 of rows lo..hi through all steps; body makes one. If those are not all units, the thread of the
 * first also does what there is to copy, while the others compute. */
INLINE void run_forward(const tdf_rnn *a, ptrdiff_t lo, ptrdiff_t hi, ptrdiff_t u0, ptrdiff_t u1,
                        void (*body)(const rnn_step *s, ptrdiff_t lo, ptrdiff_t hi))
{
    rnn_memory m = rnn_layout(a);
    ptrdiff_t B = a->B, T = a->T, I = a->I, H = a->H, Hp = m.Hp;
    ptrdiff_t stride = a->tape && a->cell != TDF_SIMPLE_RNN ? B * Hp : 0;       /* from state to state */
    int in_state = a->cell == TDF_GRU;                                          /* where h is kept */
    int copies = u0 == 0, waits = u1 - u0 < Hp;
    real *first = in_state ? m.state : m.h, *last = in_state ? m.state + T * stride : m.h;
    for (ptrdiff_t b = lo; copies && b < hi; b++) {
        real *in = m.in + b * m.K + I;
        copy_padded(first + b * Hp, a->h0 ? a->h0 + b * H : NULL, H, Hp);
        copy_padded(in, first + b * Hp, Hp, Hp);
        if (a->rec_drop)
            for (ptrdiff_t u = 0; u < H; u++) in[u] *= a->rec_drop[b * H + u];
        if (a->cell == TDF_LSTM) copy_padded(m.state + b * Hp, a->c0 ? a->c0 + b * H : NULL, H, Hp);
    }
    if (copies) take_inputs(a, &m, 0, m.in, lo, hi);
    if (waits) span_wait();
    for (ptrdiff_t t = 0; t < T; t++) {
        rnn_step s = {.a = a, .m = &m, .t = t, .in = m.in + (a->tape ? t : t & 1) * B * m.K,
                      .next = m.in + (a->tape ? t + 1 : (t + 1) & 1) * B * m.K, .before = m.state + t * stride,
                      .after = m.state + (t + (stride > 0)) * stride, .u0 = u0, .u1 = u1};
        s.h = in_state ? s.after : m.h;
        if (copies && t + 1 < T) take_inputs(a, &m, t + 1, s.next, lo, hi);
        body(&s, lo, hi);
        if (waits) span_wait();
    }
    for (ptrdiff_t b = lo; copies && b < hi; b++) {
        if (a->hT) memcpy(a->hT + b * H, last + b * Hp, (size_t)H * sizeof(real));
        if (a->cT) memcpy(a->cT + b * H, m.state + T * stride + b * Hp, (size_t)H * sizeof(real));
    }
}

/* Operations of a step and thread above which waiting for the other threads after it pays. */
#define SPLIT_UNITS 100000.0

/* All rows through all steps, on the fused path of a gated cell: rows over threads, or units, where there are not
 * rows enough to fill a tile for each thread. */
INLINE void run_rows_or_units(span_body rows, span_body units, const tdf_rnn *a, double work)
{
    int threads = span_threads(work, a->threads);
    ptrdiff_t Hp = ROUND_UP(a->H, PANEL), panels = Hp / PANEL;
    if (threads > 1 && rnn_fused(a) && a->B < threads * TILE_MAX_ROWS && panels >= 2 * threads &&
        work / (double)a->T >= threads * SPLIT_UNITS)
        span_run(units, a, Hp, PANEL, threads);
    else
        run_rows(rows, a, threads);
}

/* ------------------------------------------------------------------ backward */

INLINE void add_to(real *to, const real *from, ptrdiff_t n)
{
    for (ptrdiff_t u = 0; u < n; u += VL) v_put(to + u, v_add(v_get(to + u, n - u), v_get(from + u, n - u)), n - u);
}

/* Packs count gates of W^T, (count Hp, N), from the gate `first` on and round again: the row of the
 * j-th of them and unit u is at j Hp + u, zeros for the padding. */
RNN_FN void pack_transpose(const tdf_rnn *a, ptrdiff_t N, const real *weight, ptrdiff_t first, ptrdiff_t count,
                           real *packed, ptrdiff_t lo, ptrdiff_t hi)
{
    ptrdiff_t H = a->H, Hp = ROUND_UP(H, PANEL), gates = rnn_gates(a);
    for (ptrdiff_t n0 = lo; n0 < hi; n0 += GEMM_PANEL) {
        ptrdiff_t width = ROUND_UP(N - n0, PANEL) < GEMM_PANEL ? ROUND_UP(N - n0, PANEL) : GEMM_PANEL;
        real *panel = packed + n0 * count * Hp;
        for (ptrdiff_t g = 0; g < count; g++)
            for (ptrdiff_t u0 = 0; u0 < Hp; u0 += PANEL)
                for (ptrdiff_t j = 0; j < width; j++)
                    for (ptrdiff_t u = u0; u < u0 + PANEL; u++)
                        panel[(g * Hp + u) * width + j] =
                            u < H && n0 + j < N ? weight[((n0 + j) * gates + (first + g) % gates) * H + u] : 0;
    }
}

/* The transposes of a cell whose gates all read [x | h r], in Keras's order. */
RNN_FN void transpose_recurrent(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    (void)part;
    pack_transpose(a, a->H, a->recurrent, 0, rnn_gates(a), rnn_scratch_of(a, a->scratch).recurrent, lo, hi);
}

RNN_FN void transpose_kernel(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    (void)part;
    pack_transpose(a, a->I, a->kernel, 0, rnn_gates(a), rnn_scratch_of(a, a->scratch).kernel, lo, hi);
}

/* The gradients that come from behind the last step. */
RNN_FN void start_backward(const tdf_rnn *a, const rnn_scratch *w, ptrdiff_t lo, ptrdiff_t hi)
{
    ptrdiff_t H = a->H, Hp = ROUND_UP(H, PANEL);
    for (ptrdiff_t b = lo; b < hi; b++) {
        copy_padded(w->dh + b * Hp, a->dhT ? a->dhT + b * H : NULL, H, Hp);
        if (a->cell == TDF_LSTM) copy_padded(w->dc + b * Hp, a->dcT ? a->dcT + b * H : NULL, H, Hp);
        copy_padded(w->dy + b * Hp, NULL, 0, Hp);
    }
}

/* Adds the gradient of row b's output to dh. A masked row is done then: its dz is 0 (where the rest of
 * its tile is live, or nobody reads it), and dh goes on to the step before. Returns whether there is more to do. */
RNN_FN int back_output(const tdf_rnn *a, const rnn_memory *m, const rnn_scratch *w, ptrdiff_t t, ptrdiff_t b,
                       ptrdiff_t lo, ptrdiff_t hi)
{
    ptrdiff_t T = a->T, H = a->H, Hp = m->Hp, width = m->slots * Hp;
    real *dh = w->dh + b * Hp, *carried = w->dy + b * Hp;
    const real *dy = a->sequences ? a->dy + (b * T + t) * H : t == T - 1 ? a->dy + b * H : NULL;
    int valid = is_valid(a, b, t);
    if (!valid && a->mask_zero_output) dy = NULL;
    if (dy) add_to(valid ? dh : carried, dy, H);
    if (!valid) {
        if (is_live(a, b, lo, hi, t)) memset(m->gates + (t * a->B + b) * width, 0, (size_t)width * sizeof(real));
        return 0;
    }
    if (a->mask) {
        add_to(dh, carried, Hp);
        memset(carried, 0, (size_t)Hp * sizeof(real));
    }
    return 1;
}

/* dh of the step before: += (dz U^T) r, dz being `count` slots of gates. z = x W + (h r) U + b */
RNN_FN void back_to_state(const tdf_rnn *a, const rnn_memory *m, const rnn_scratch *w, ptrdiff_t t,
                          ptrdiff_t slot, ptrdiff_t count, ptrdiff_t lo, ptrdiff_t hi)
{
    ptrdiff_t H = a->H, Hp = m->Hp, width = m->slots * Hp;
    if (t == 0 && !a->dh0) return;
    FOR_LIVE_ROWS(b, end, a, lo, hi, t) {
        gemm_nn_args g = {.M = end - b, .K = count * Hp, .N = H, .a = m->gates + (t * a->B + b) * width + slot * Hp,
                          .ar = width, .b = w->recurrent, .add = !a->rec_drop, .cr = Hp};
        g.c = (g.add ? w->dh : w->product) + b * Hp;
        TDF_NAME(gemm_nn)(&g);
        for (ptrdiff_t r = b; a->rec_drop && r < end; r++)
            for (ptrdiff_t u = 0; u < H; u += VL) {
                real *dh = w->dh + r * Hp + u;
                vf d = v_mul(v_load(w->product + r * Hp + u), v_get(a->rec_drop + r * H + u, H - u));
                v_put(dh, v_add(v_load(dh), d), H - u);
            }
    }
}

/* dx of the step: dz W^T, dz being the first slots of gates. z = x W + (h r) U + b */
RNN_FN void back_to_input(const tdf_rnn *a, const rnn_memory *m, const rnn_scratch *w, ptrdiff_t t,
                          ptrdiff_t lo, ptrdiff_t hi)
{
    ptrdiff_t width = m->slots * m->Hp, I = a->I, row = a->T * I;
    if (!a->dx) return;
    real *dx = a->dx + source_step(a, t) * I;
    for (ptrdiff_t b = lo; a->mask && b < hi; b++)
        if (!is_live(a, b, lo, hi, t)) memset(dx + b * row, 0, (size_t)I * sizeof(real));
    FOR_LIVE_ROWS(b, end, a, lo, hi, t) {
        gemm_nn_args g = {.M = end - b, .K = rnn_gates(a) * m->Hp, .N = I, .a = m->gates + (t * a->B + b) * width,
                          .ar = width, .b = w->kernel, .c = dx + b * row, .cr = row};
        TDF_NAME(gemm_nn)(&g);
    }
}

/* The gradients of the initial states. */
RNN_FN void end_backward(const tdf_rnn *a, const rnn_scratch *w, ptrdiff_t lo, ptrdiff_t hi)
{
    ptrdiff_t H = a->H, Hp = ROUND_UP(H, PANEL);
    for (ptrdiff_t b = lo; b < hi; b++) {
        if (a->dh0) memcpy(a->dh0 + b * H, w->dh + b * Hp, (size_t)H * sizeof(real));
        if (a->dc0) memcpy(a->dc0 + b * H, w->dc + b * Hp, (size_t)H * sizeof(real));
    }
}

/* Columns of a weight's gradient: sum over steps and rows of left^T dz, for `count` gates from `gate`
 * on, whose dz lie in as many slots from `slot` on. Of them, those columns within lo..hi. */
typedef struct {
    const real *left;           /* (T B, M) */
    ptrdiff_t step, M;          /* from row to row of left */
    real *grad, *sum;           /* (M, gates H); (gates H) the sum of dz, or NULL */
    ptrdiff_t gate, slot, count;
} weight_columns;

RNN_FN void back_to_weight(const tdf_rnn *a, const rnn_memory *m, real *scratch, ptrdiff_t lo, ptrdiff_t hi,
                           weight_columns c)
{
    ptrdiff_t H = a->H, Hp = m->Hp, width = rnn_gates(a) * H;
    ptrdiff_t together = H == Hp ? c.count : 1;             /* gates whose columns lie side by side */
    for (ptrdiff_t i = 0; i < c.count; i += together) {
        ptrdiff_t start = (c.gate + i) * H, end = start + together * H;
        ptrdiff_t n0 = (lo > start ? lo : start) - start, n1 = (hi < end ? hi : end) - start;
        if (n0 >= n1) continue;
        gemm_tn_args g = {.K = a->mask ? a->n_valid : a->T * a->B, .rows = a->mask ? a->valid : NULL, .m0 = 0, .m1 = c.M, .n0 = n0, .n1 = n1, .a = c.left, .ak = c.step,
                          .b = m->gates + (c.slot + i) * Hp, .bk = m->slots * Hp, .c = c.grad + start, .cr = width,
                          .sum = c.sum ? c.sum + start : NULL, .scratch = scratch};
        TDF_NAME(gemm_tn)(&g);
    }
}

/* [dW; dU] and db of a cell whose gates all read [x | h r]. */
RNN_FN void back_to_weights(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    rnn_memory m = rnn_layout(a);
    real *scratch = rnn_scratch_of(a, a->scratch).products + part * gemm_tn_scratch(m.K);
    ptrdiff_t gates = rnn_gates(a);
    weight_columns x = {m.in, m.K, a->I, a->dkernel, a->dbias, 0, 0, gates};
    weight_columns h = {m.in + a->I, m.K, a->H, a->drecurrent, NULL, 0, 0, gates};
    back_to_weight(a, &m, scratch, lo, hi, x);
    back_to_weight(a, &m, scratch, lo, hi, h);
}

/* Backward from its passes: the transposes, the steps, the weights. */
INLINE void run_backward(const tdf_rnn *a, span_body pack_recurrent, span_body pack_kernel, span_body steps,
                         span_body weights)
{
    double gates = (double)rnn_gates(a), work = 2 * gates * a->B * (double)a->T * a->H, pack = 8 * gates * a->H;
    ptrdiff_t columns = rnn_gates(a) * a->H;
    int threads = span_threads(work * (a->I + a->H), a->threads);
    span_run(pack_recurrent, a, a->H, GEMM_PANEL, span_threads(pack * a->H, a->threads));
    if (a->dx) span_run(pack_kernel, a, a->I, GEMM_PANEL, span_threads(pack * a->I, a->threads));
    run_rows(steps, a, span_threads(work * (a->H + (a->dx ? a->I : 0) + 20), a->threads));
    span_run(weights, a, columns, columns >= 64 * threads ? GEMM_PANEL : PANEL, threads);
}

#endif
