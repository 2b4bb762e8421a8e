/* rnn_common.h - what the recurrent cells share: steps, masks, states, and the way back.
 *
 * Rows of the batch are independent. They are split over threads, and each thread runs its rows
 * through all steps without a barrier. A batch of few rows of a large layer is split over its units
 * instead, and the threads wait for each other after each step.
 *
 * A masked step changes nothing, so the kernels leave it out: step t of row b is the t-th that counts, the
 * rows with most steps come first, and at each step the rows that still have one are the first ones. Left,
 * right and interior padding cost the same that way: nothing. `row` and `steps` tell where x, y and their
 * gradients lie. The output of a masked step is the one before it (0 if there is none, or with
 * mask_zero_output).
 */
#ifndef TDF_RNN_COMMON_H
#define TDF_RNN_COMMON_H

#include "act.h"
#include "gemm.h"
#include "rnn_layout.h"
#include "span.h"
#include "tile.h"

#define RNN_FN static __attribute__((unused))

/* A function of tiles: within the loop that calls it, constants of the activations would take registers. */
#define TILE_FN static __attribute__((noinline))

/* The kernels of each cell. */
#define RNN_KERNELS(KIND, file, ...)                                                               \
    void TDF_NAME(file##_pack)(const tdf_rnn *a);                                                  \
    void TDF_NAME(file##_forward)(const tdf_rnn *a);                                               \
    void TDF_NAME(file##_backward)(const tdf_rnn *a);
TDF_CELL_TABLE(RNN_KERNELS)

/* A product of a step is made in parts, of which the weights stay in the first-level cache: k to a part, and
 * the rows that each part is used for. AVX-512 and NEON have taller tiles, which ask less of the caches. */
#define STEP_ROWS 48
#if TILE_NV == 4 || defined(TDF_PARTS)  /* the blocks of low.h begin where the sums do */
#define STEP_DEPTH PTRDIFF_MAX
#else
#define STEP_DEPTH 128
#endif

/* ------------------------------------------------------------------ rows and steps */

typedef struct {
    const tdf_rnn *a;
    const rnn_memory *m;
    ptrdiff_t t;                /* the step */
    ptrdiff_t at;               /* where its rows begin on the tape; 0 without one */
    const real *in;             /* (B, K) of this step */
    real *next;                 /* (B, K) of the next: h goes there, of rows */
    ptrdiff_t going_on;         /* before this one */
    const real *before;         /* (B, Hp) rnn_memory's `state` before and */
    real *after;                /* after the step */
    real *h;                    /* (B, Hp) the state h */
    ptrdiff_t u0, u1;           /* the units to compute: all Hp, or a thread's share */
} rnn_step;

/* The caller's row. */
INLINE ptrdiff_t row_of(const tdf_rnn *a, ptrdiff_t b) { return a->row ? a->row[b] : b; }

/* How many steps row b has. */
INLINE ptrdiff_t steps_of(const tdf_rnn *a, ptrdiff_t b)
{
    return a->row ? a->starts[b + 1] - a->starts[b] : a->T;
}

/* Step t of row b among the steps that run, masked ones included. */
INLINE ptrdiff_t place_of(const tdf_rnn *a, ptrdiff_t b, ptrdiff_t t)
{
    return a->row ? a->steps[a->starts[b] + t] : t;
}

/* Step t of row b in x and dx: T to a row, counted as the caller does. */
INLINE ptrdiff_t input_of(const tdf_rnn *a, ptrdiff_t b, ptrdiff_t t)
{
    ptrdiff_t place = place_of(a, b, t);
    return row_of(a, b) * a->T + (a->reverse ? a->T - 1 - place : place);
}

/* The same in y and dy, with `sequences`. */
INLINE ptrdiff_t output_of(const tdf_rnn *a, ptrdiff_t b, ptrdiff_t t)
{
    return a->packed_steps ? a->starts[b] + t : row_of(a, b) * a->T + place_of(a, b, t);
}

/* How many rows all steps before t have: where those of step t begin on the tape. */
INLINE ptrdiff_t rows_before(const tdf_rnn *a, ptrdiff_t t) { return a->row ? a->rows_before[t] : t * a->B; }

/* The end of those of the rows lo..hi that have a step t, which is at most T. */
INLINE ptrdiff_t live_end(const tdf_rnn *a, ptrdiff_t lo, ptrdiff_t hi, ptrdiff_t t)
{
    ptrdiff_t live = a->row ? a->rows_before[t + 1] - a->rows_before[t] : hi;
    return live < lo ? lo : live < hi ? live : hi;
}

/* Where the rows' states before step t begin in rnn_memory's `state`. */
INLINE ptrdiff_t state_before(const tdf_rnn *a, ptrdiff_t t) { return t ? a->B + rows_before(a, t - 1) : 0; }

/* The rows of a batch over threads. With a mask they differ in their steps: see span_deal. */
INLINE void run_rows(span_body body, const tdf_rnn *a, int threads)
{
    ptrdiff_t block = (a->B / 8 + TILE_MAX_ROWS - 1) / TILE_MAX_ROWS * TILE_MAX_ROWS;
    if (a->row) span_deal(body, a, a->B, block < TILE_MAX_ROWS ? TILE_MAX_ROWS : block, threads);
    else span_run(body, a, a->B, 1, threads);
}

/* Where y of (row b, unit u) goes at this step, or NULL if nobody asked for it. */
INLINE real *output(const rnn_step *s, ptrdiff_t b, ptrdiff_t u)
{
    const tdf_rnn *a = s->a;
    if (a->sequences) return a->y + output_of(a, b, s->t) * a->H + u;
    return s->t == steps_of(a, b) - 1 ? a->y + row_of(a, b) * a->H + u : NULL;
}

/* Stores a new h everywhere it belongs: the state, the next step's input row and the output. */
INLINE void put_h(const rnn_step *s, ptrdiff_t b, ptrdiff_t u, ptrdiff_t units, vf h)
{
    const tdf_rnn *a = s->a;
    real *y = output(s, b, u);
    v_store(s->h + b * s->m->Hp + u, h);
    if (y) v_put(y, h, units);
    if (b >= s->going_on) return;
    if (a->rec_drop) h = v_mul(h, units > 0 ? v_get(a->rec_drop + row_of(a, b) * a->H + u, units) : v_zero());
    v_store(s->next + b * s->m->K + a->I + u, h);
}

/* The last vector of units of this step. */
INLINE ptrdiff_t last_vector(const rnn_step *s) { return (min_size(s->u1, s->a->H) - 1) / VL * VL; }

/* Stores the units from u on of a slot. What it writes beyond the last unit is the next slot's beginning,
 * which comes later: steps go from the last units to the first, and from slot to slot. Only where another
 * thread has those, nothing is written there. */
INLINE void put_slot(const rnn_step *s, real *at, ptrdiff_t u, vf value)
{
    v_put(at, value, s->u1 - s->u0 == s->m->Hp ? VL : s->a->H - u);
}

/* The rows of the next tile: the last two share what is left, for a tile of one row is slow. */
INLINE ptrdiff_t tile_rows(ptrdiff_t left, ptrdiff_t high)
{
    return left >= 2 * high ? high : left > high ? (left + 1) / 2 : left;
}

/* A part of a vector of units' products, k0 <= k < k1, put aside; and the last one, with the gates. */
typedef void (*part_body)(ptrdiff_t rows, const rnn_step *s, ptrdiff_t b, const real *panel, ptrdiff_t k0,
                          ptrdiff_t k1, real *begun);
typedef void (*fused_body)(ptrdiff_t rows, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, const real *panel,
                           ptrdiff_t k0, real *begun);

/* A step of a vector of units of STEP_ROWS rows at most. `begun` has 4 vectors a row. */
INLINE void fused_units(part_body part, fused_body fused, const rnn_step *s, ptrdiff_t lo, ptrdiff_t hi,
                        ptrdiff_t u, const real *panel)
{
    ptrdiff_t K = s->a->I + s->a->H, k0 = 0, rows;
    real begun[STEP_ROWS * 4 * VL];
    for (; K - k0 > STEP_DEPTH; k0 += STEP_DEPTH)
        for (ptrdiff_t b = lo; b < hi; b += rows) {
            rows = tile_rows(hi - b, TILE_ROWS(4));
            part(rows, s, b, panel, k0, k0 + STEP_DEPTH, begun + (b - lo) * 4 * VL);
        }
    for (ptrdiff_t b = lo; b < hi; b += rows) {
        rows = tile_rows(hi - b, TILE_ROWS(4));
        fused(rows, s, b, u, panel, k0, begun + (b - lo) * 4 * VL);
    }
}

/* A step of rows lo..hi on the fused path; from the last units to the first: see put_slot. */
INLINE void fused_step(part_body part, fused_body fused, real *(*panel_of)(const tdf_rnn *a, ptrdiff_t u),
                       const rnn_step *s, ptrdiff_t lo, ptrdiff_t hi)
{
    for (ptrdiff_t u = last_vector(s); u >= s->u0; u -= VL)
        for (ptrdiff_t b = lo; b < hi; b += STEP_ROWS)
            fused_units(part, fused, s, b, min_size(b + STEP_ROWS, hi), u, panel_of(s->a, u));
}

/* Whether the last output of row b, of those that return it alone, is one that it computed. */
INLINE int ends_valid(const tdf_rnn *a, ptrdiff_t b)
{
    ptrdiff_t n = steps_of(a, b);
    return n > 0 && (!a->mask_zero_output || place_of(a, b, n - 1) == a->T - 1);
}

/* Units u0..u1 of row b's outputs at masked steps. */
RNN_FN void fill_masked(const tdf_rnn *a, ptrdiff_t b, ptrdiff_t u0, ptrdiff_t u1)
{
    ptrdiff_t H = a->H, n = steps_of(a, b), next = 0;
    if (u1 > H) u1 = H;
    if (a->packed_steps || u0 >= u1) return;
    size_t bytes = (size_t)(u1 - u0) * sizeof(real);
    real *y = a->y + row_of(a, b) * (a->sequences ? a->T : 1) * H + u0;
    if (!a->sequences && !ends_valid(a, b)) memset(y, 0, bytes);
    for (ptrdiff_t t = 0; a->sequences && t < a->T; t++, y += H) {
        if (next < n && place_of(a, b, next) == t) next++;
        else if (next == 0 || a->mask_zero_output) memset(y, 0, bytes);
        else memcpy(y, y - H, bytes);
    }
}

/* ------------------------------------------------------------------ forward */

RNN_FN void copy_padded(real *to, const real *from, ptrdiff_t n, ptrdiff_t padded)
{
    if (from) memcpy(to, from, (size_t)n * sizeof(real));
    else n = 0;
    memset(to + n, 0, (size_t)(padded - n) * sizeof(real));
}

/* x of step t, rows lo..hi, into the rows that the product reads. */
INLINE void take_inputs(const tdf_rnn *a, const rnn_memory *m, ptrdiff_t t, real *in,
                        ptrdiff_t lo, ptrdiff_t hi)
{
    for (ptrdiff_t b = lo; b < hi; b++)
        memcpy(in + b * m->K, a->x + input_of(a, b, t) * a->I, (size_t)a->I * sizeof(real));
}

/* Units u0..u1 of rows lo..hi through all steps; body makes one. If those are not all units, the thread of
 * the first also does what there is to copy, while the others compute. */
INLINE void run_forward(const tdf_rnn *a, ptrdiff_t lo, ptrdiff_t hi, ptrdiff_t u0, ptrdiff_t u1,
                        void (*body)(const rnn_step *s, ptrdiff_t lo, ptrdiff_t hi))
{
    rnn_memory m = rnn_layout(a);
    ptrdiff_t B = a->B, T = steps_of(a, lo), I = a->I, H = a->H, Hp = m.Hp, live = hi;
    int in_state = rnn_keeps_h(a);                                              /* where h is kept */
    int keeps = a->tape && (in_state || rnn_keeps_c(a));                        /* the state of every step */
    int copies = u0 == 0, waits = u1 - u0 < Hp;
    real *first = in_state ? m.state : m.h;
    for (ptrdiff_t b = lo; copies && b < hi; b++) {
        real *in = m.in + b * m.K + I;
        ptrdiff_t row = row_of(a, b) * H;
        copy_padded(first + b * Hp, a->h0 ? a->h0 + row : NULL, H, Hp);
        if (rnn_keeps_c(a)) copy_padded(m.state + b * Hp, a->c0 ? a->c0 + row : NULL, H, Hp);
        if (steps_of(a, b) == 0) continue;          /* it has no row on the tape */
        copy_padded(in, first + b * Hp, Hp, Hp);
        if (a->rec_drop)
            for (ptrdiff_t u = 0; u < H; u++) in[u] *= a->rec_drop[row + u];
    }
    if (copies) take_inputs(a, &m, 0, m.in, lo, live_end(a, lo, hi, 0));
    if (waits) span_wait();
    for (ptrdiff_t t = 0; t < T; t++) {
        ptrdiff_t at = a->tape ? rows_before(a, t) : 0;
        rnn_step s = {.a = a, .m = &m, .t = t, .at = at, .in = m.in + (a->tape ? at : (t & 1) * B) * m.K,
                      .next = m.in + (a->tape ? rows_before(a, t + 1) : ((t + 1) & 1) * B) * m.K,
                      .before = m.state + (keeps ? state_before(a, t) : 0) * Hp,
                      .after = m.state + (keeps ? state_before(a, t + 1) : 0) * Hp, .u0 = u0, .u1 = u1};
        s.h = in_state ? s.after : m.h;
        live = live_end(a, lo, live, t);
        s.going_on = live_end(a, lo, live, t + 1);
        if (copies && t + 1 < T) take_inputs(a, &m, t + 1, s.next, lo, s.going_on);
        body(&s, lo, live);
        if (waits) span_wait();
    }
    for (ptrdiff_t b = lo; copies && (a->hT || a->cT) && b < hi; b++) {
        ptrdiff_t row = row_of(a, b) * H, end = ((keeps ? state_before(a, steps_of(a, b)) : 0) + b) * Hp;
        if (a->hT) memcpy(a->hT + row, in_state ? m.state + end : m.h + b * Hp, (size_t)H * sizeof(real));
        if (a->cT) memcpy(a->cT + row, m.state + end, (size_t)H * sizeof(real));
    }
    for (ptrdiff_t b = lo; a->row && b < hi; b++) fill_masked(a, b, u0, u1);
}

/* Operations of a step and thread above which waiting for the other threads after it pays. */
#define SPLIT_UNITS 100000.0

/* All rows through all steps, on the fused path of a gated cell: rows over threads, or units, where there
 * are not rows enough to fill a tile for each thread. */
INLINE void run_rows_or_units(span_body rows, span_body units, const tdf_rnn *a, double work)
{
    int threads = span_threads(work, a->threads);
    ptrdiff_t Hp = ROUND_UP(a->H, PANEL), panels = Hp / PANEL;
    if (threads > 1 && rnn_fused(a) && a->B < threads * TILE_MAX_ROWS && panels >= 2 * threads &&
        work / (double)a->T >= threads * SPLIT_UNITS)
        span_run_together(units, a, Hp, PANEL, threads);
    else
        run_rows(rows, a, threads);
}

/* ------------------------------------------------------------------ backward */

/* Packs count gates of W^T, (count H, N), from the gate `first` on and round again: the row of the j-th of
 * them and unit u is j H + u. */
RNN_FN void pack_gates_transpose(const tdf_rnn *a, ptrdiff_t N, const real *weight, ptrdiff_t first,
                                 ptrdiff_t count, real *packed, ptrdiff_t lo, ptrdiff_t hi)
{
    ptrdiff_t H = a->H, gates = rnn_gates(a);
    for (ptrdiff_t n0 = lo; n0 < hi; n0 += GEMM_PANEL) {
        ptrdiff_t width = ROUND_UP(N - n0, PANEL) < GEMM_PANEL ? ROUND_UP(N - n0, PANEL) : GEMM_PANEL;
        real *panel = packed + n0 * count * H;
        for (ptrdiff_t g = 0; g < count; g++)
            for (ptrdiff_t u0 = 0; u0 < H; u0 += PANEL)
                for (ptrdiff_t j = 0; j < width; j++)
                    for (ptrdiff_t u = u0; u < min_size(u0 + PANEL, H); u++)
                        panel[(g * H + u) * width + j] =
                            n0 + j < N ? weight[((n0 + j) * gates + (first + g) % gates) * H + u] : 0;
    }
}

/* The transposes of a cell whose gates all read [x | h r], in Keras's order. */
RNN_FN void transpose_recurrent(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    (void)part;
    real *packed = rnn_scratch_of(a, a->scratch).recurrent;
    pack_gates_transpose(a, a->H, a->recurrent, 0, rnn_gates(a), packed, lo, hi);
}

RNN_FN void transpose_kernel(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    (void)part;
    real *packed = rnn_scratch_of(a, a->scratch).kernel;
    pack_gates_transpose(a, a->I, a->kernel, 0, rnn_gates(a), packed, lo, hi);
}

/* The gradients that come from behind the last step, and dx where no step will write it. */
RNN_FN void start_backward(const tdf_rnn *a, const rnn_scratch *w, ptrdiff_t lo, ptrdiff_t hi)
{
    ptrdiff_t H = a->H, Hp = ROUND_UP(H, PANEL);
    for (ptrdiff_t b = lo; b < hi; b++) {
        ptrdiff_t row = row_of(a, b);
        copy_padded(w->dh + b * Hp, a->dhT ? a->dhT + row * H : NULL, H, Hp);
        if (rnn_keeps_c(a)) copy_padded(w->dc + b * Hp, a->dcT ? a->dcT + row * H : NULL, H, Hp);
        if (a->row && a->dx) memset(a->dx + row * a->T * a->I, 0, (size_t)(a->T * a->I) * sizeof(real));
    }
}

/* Adds to dh the gradient of row b's output at step t, and of the masked steps behind it that repeated it. */
RNN_FN void back_output(const tdf_rnn *a, const rnn_scratch *w, ptrdiff_t t, ptrdiff_t b)
{
    ptrdiff_t H = a->H, n = steps_of(a, b), repeats = 0;
    real *dh = w->dh + b * ROUND_UP(H, PANEL);
    if (!a->sequences) {
        if (t == n - 1 && ends_valid(a, b)) v_add_to(dh, a->dy + row_of(a, b) * H, H);
        return;
    }
    const real *dy = a->dy + output_of(a, b, t) * H;
    if (a->row && !a->packed_steps && !a->mask_zero_output)
        repeats = (t + 1 < n ? place_of(a, b, t + 1) : a->T) - place_of(a, b, t) - 1;
    for (ptrdiff_t i = 0; i <= repeats; i++) v_add_to(dh, dy + i * H, H);
}

/* dh of the step before: += (dz U^T) r, dz being `count` slots of gates. z = x W + (h r) U + b */
RNN_FN void back_to_state(const tdf_rnn *a, const rnn_memory *m, const rnn_scratch *w, ptrdiff_t t,
                          ptrdiff_t slot, ptrdiff_t count, ptrdiff_t lo, ptrdiff_t hi)
{
    ptrdiff_t H = a->H, Hp = m->Hp, width = m->width;
    if (t == 0 && !a->dh0) return;
    const real *dz = m->gates + (rows_before(a, t) + lo) * width + slot * H;
    gemm_nn_args g = {.M = hi - lo, .K = count * H, .N = H, .a = dz, .ar = width, .b = w->recurrent,
                      .add = !a->rec_drop, .cr = Hp};
    g.c = (g.add ? w->dh : w->product) + lo * Hp;
    TDF_NAME(gemm_nn)(&g);
    for (ptrdiff_t b = lo; a->rec_drop && b < hi; b++)
        for (ptrdiff_t u = 0; u < H; u += VL) {
            real *dh = w->dh + b * Hp + u;
            vf d = v_mul(v_load(w->product + b * Hp + u), v_get(a->rec_drop + row_of(a, b) * H + u, H - u));
            v_put(dh, v_add(v_load(dh), d), H - u);
        }
}

/* dx of the step: dz W^T, dz being the first slots of gates. z = x W + (h r) U + b */
RNN_FN void back_to_input(const tdf_rnn *a, const rnn_memory *m, const rnn_scratch *w, ptrdiff_t t,
                          ptrdiff_t lo, ptrdiff_t hi)
{
    ptrdiff_t width = m->width, I = a->I;
    if (!a->dx || lo == hi) return;
    const real *dz = m->gates + (rows_before(a, t) + lo) * width;
    gemm_nn_args g = {.M = hi - lo, .K = rnn_gates(a) * a->H, .N = I, .a = dz, .ar = width, .b = w->kernel,
                      .c = w->dx + lo * I, .cr = I};
    if (!a->row) {
        g.c = a->dx + input_of(a, lo, t) * I;
        g.cr = a->T * I;
    }
    TDF_NAME(gemm_nn)(&g);
    for (ptrdiff_t b = lo; a->row && b < hi; b++)
        memcpy(a->dx + input_of(a, b, t) * I, w->dx + b * I, (size_t)I * sizeof(real));
}

/* The gradients of the initial states. */
RNN_FN void end_backward(const tdf_rnn *a, const rnn_scratch *w, ptrdiff_t lo, ptrdiff_t hi)
{
    ptrdiff_t H = a->H, Hp = ROUND_UP(H, PANEL);
    for (ptrdiff_t b = lo; b < hi; b++) {
        ptrdiff_t row = row_of(a, b) * H;
        if (a->dh0) memcpy(a->dh0 + row, w->dh + b * Hp, (size_t)H * sizeof(real));
        if (a->dc0) memcpy(a->dc0 + row, w->dc + b * Hp, (size_t)H * sizeof(real));
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
    ptrdiff_t H = a->H, start = c.gate * H, end = start + c.count * H;
    ptrdiff_t n0 = (lo > start ? lo : start) - start, n1 = (hi < end ? hi : end) - start;
    if (n0 >= n1) return;
    gemm_tn_args g = {.K = rows_before(a, a->T), .m0 = 0, .m1 = c.M, .n0 = n0, .n1 = n1, .a = c.left,
                      .ak = c.step, .b = m->gates + c.slot * H, .bk = m->width, .c = c.grad + start,
                      .cr = rnn_gates(a) * H, .sum = c.sum ? c.sum + start : NULL, .scratch = scratch};
    TDF_NAME(gemm_tn)(&g);
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
    double gates = (double)rnn_gates(a), pack = 8 * gates * a->H;
    double work = 2 * gates * a->B * (double)a->T * a->H;
    ptrdiff_t columns = rnn_gates(a) * a->H;
    int threads = span_threads(work * (a->I + a->H), a->threads);
    span_run(pack_recurrent, a, a->H, GEMM_PANEL, span_threads(pack * a->H, a->threads));
    if (a->dx) span_run(pack_kernel, a, a->I, GEMM_PANEL, span_threads(pack * a->I, a->threads));
    run_rows(steps, a, span_threads(work * (a->H + (a->dx ? a->I : 0) + 20), a->threads));
    span_run(weights, a, columns, columns >= 64 * threads ? GEMM_PANEL : PANEL, threads);
}

#endif
