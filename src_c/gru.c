/* gru.c - gated recurrent unit over whole sequences (Cho et al. 2014).
 *
 *   [xz xr xc] = x_t W + b             [qz qr q] = (h_{t-1} d) U + b'      d: recurrent dropout, or 1
 *   z = s(xz + qz)  r = s(xr + qr)                         s: rec_act (sigmoid), a: act (tanh)
 *   c = a(xc + r q)                    reset_after, or
 *   c = a(xc + (r h_{t-1} d) Uc)       without it (there is no b' then)
 *   h_t = z h_{t-1} + (1 - z) c
 *
 * A tile holds some rows x [z r xc q] x one vector of units in registers. With reset_after, tanh and
 * sigmoid (the fused path) both products and the gates happen there, and pre-activations never touch
 * memory. Elsewhere they are stored, act.h is applied to whole rows, and without reset_after a second
 * product with Uc follows the gates.
 *
 * The tape (rnn_layout.h) has c z r q in `gates`, xc z r q in `z` and h in `state`. Backward makes
 * dxc dz dr dq of the gates, so that the first three slots are the gradient of x W and the last three that
 * of h U. Without reset_after the last slot is r h d: what Uc was multiplied with.
 */
#include "rnn_common.h"

enum { SLOT_C, SLOT_Z, SLOT_R, SLOT_Q };

/* Whether the reset gate comes after the recurrent product. */
INLINE int reset_after(const tdf_rnn *a) { return a->cell == TDF_GRU; }

/* ------------------------------------------------------------------ packing */

/* The panel of the units from u on: the starts of [z r xc q] (the bias), each VL, then [k][3 gates][VL], k
 * over the inputs and then the hidden units. */
INLINE real *panel_of(const tdf_rnn *a, ptrdiff_t u) { return a->packed + u * (4 + 3 * (a->I + a->H)); }

static void pack_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    ptrdiff_t H = a->H, I = a->I;
    (void)part;
    for (ptrdiff_t u = lo; u < hi; u += VL) {
        ptrdiff_t n = H - u;
        real *to = panel_of(a, u);
        for (int slot = 0; slot < 4; slot++) {
            int gate = slot < 3 ? slot : 2;
            vf start = a->bias && slot < 3 ? v_get(a->bias + gate * H + u, n) : v_zero();
            if (a->bias && reset_after(a) && slot != 2)
                start = v_add(start, v_get(a->bias + (3 + gate) * H + u, n));
            v_store(to + slot * VL, start);
        }
        to += 4 * VL;
        for (ptrdiff_t k = 0; k < I + H; k++) {
            const real *row = k < I ? a->kernel + k * 3 * H : a->recurrent + (k - I) * 3 * H;
            for (int gate = 0; gate < 3; gate++, to += VL) v_store(to, v_get(row + gate * H + u, n));
        }
    }
}

void TDF_NAME(gru_pack)(const tdf_rnn *a)
{
    double work = 12.0 * (a->I + a->H) * a->H;
    span_run(pack_body, a, a->H, PANEL, span_threads(work, a->threads));
}

/* ------------------------------------------------------------------ forward */

/* The products of MR rows x one vector of units with k0 <= k < k1: acc[r] = [z r q], q only with GATES = 3,
 * and xc[r]. They are added to `begun`, [z r xc q] a row of those with k < k0, or to the starts. */
INLINE void products(const int MR, const int GATES, const rnn_step *s, ptrdiff_t b, const real *panel,
                     ptrdiff_t k0, ptrdiff_t k1, const real *begun, vf *acc, vf *xc)
{
    ptrdiff_t I = s->a->I, K = s->m->K, x1 = min_size(k1, I), h0 = k0 > I ? k0 : I;
    const real *in = s->in + b * K, *weights = panel + 4 * VL, *start = k0 ? begun : panel;
    ptrdiff_t next = k0 ? 4 * VL : 0;
    vf x[TILE_MAX_ROWS * 3];
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 3
        for (int gate = 0; gate < 3; gate++) x[r * 3 + gate] = v_load(start + r * next + gate * VL);
    if (k0 < x1) tile(MR, 3, x1 - k0, in + k0, K, 1, weights + k0 * 3 * VL, 3 * VL, VL, x);
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++) {
        acc[r * GATES] = x[r * 3];
        acc[r * GATES + 1] = x[r * 3 + 1];
        xc[r] = x[r * 3 + 2];
        if (GATES == 3) acc[r * 3 + 2] = v_load(start + r * next + 3 * VL);
    }
    if (h0 < k1) tile(MR, GATES, k1 - h0, in + h0, K, 1, weights + h0 * 3 * VL, 3 * VL, VL, acc);
}

/* From the products to h in registers. */
INLINE void fused_tile(const int MR, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, const real *panel,
                       ptrdiff_t k0, real *begun)
{
    const tdf_rnn *a = s->a;
    const rnn_memory *m = s->m;
    vf acc[TILE_MAX_ROWS * 3], xc[TILE_MAX_ROWS], one = v_set1(1);
    products(MR, 3, s, b, panel, k0, a->I + a->H, begun, acc, xc);
#pragma GCC unroll 6
    for (int i = 0; i < MR; i++) {
        ptrdiff_t row = b + i;
        vf z = v_sigmoid(acc[i * 3]), r = v_sigmoid(acc[i * 3 + 1]), q = acc[i * 3 + 2];
        vf c = v_tanh(v_fma(r, q, xc[i]));
        if (a->tape) {
            real *gates = m->gates + (s->at + row) * m->width + u;
            put_slot(s, gates + SLOT_C * a->H, u, c);
            put_slot(s, gates + SLOT_Z * a->H, u, z);
            put_slot(s, gates + SLOT_R * a->H, u, r);
            put_slot(s, gates + SLOT_Q * a->H, u, q);
        }
        put_h(s, row, u, a->H - u, v_fma(z, v_load(s->before + row * m->Hp + u), v_mul(v_sub(one, z), c)));
    }
}

TILE_FN void fused_rows(ptrdiff_t rows, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, const real *panel,
                        ptrdiff_t k0, real *begun)
{
    TILE_SWITCH(rows, fused_tile, s, b, u, panel, k0, begun)
}

/* A part of the products, put aside. */
INLINE void part_tile(const int MR, const rnn_step *s, ptrdiff_t b, const real *panel, ptrdiff_t k0,
                      ptrdiff_t k1, real *begun)
{
    vf acc[TILE_MAX_ROWS * 3], xc[TILE_MAX_ROWS];
    products(MR, 3, s, b, panel, k0, k1, begun, acc, xc);
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++, begun += 4 * VL) {
        v_store(begun, acc[r * 3]);
        v_store(begun + VL, acc[r * 3 + 1]);
        v_store(begun + 2 * VL, xc[r]);
        v_store(begun + 3 * VL, acc[r * 3 + 2]);
    }
}

TILE_FN void part_rows(ptrdiff_t rows, const rnn_step *s, ptrdiff_t b, const real *panel, ptrdiff_t k0,
                       ptrdiff_t k1, real *begun)
{
    TILE_SWITCH(rows, part_tile, s, b, panel, k0, k1, begun)
}

/* Off the fused path: the pre-activations alone. */
INLINE void z_tile(const int MR, const int GATES, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, real *z)
{
    ptrdiff_t H = s->a->H;
    vf acc[TILE_MAX_ROWS * 3], xc[TILE_MAX_ROWS];
    products(MR, GATES, s, b, panel_of(s->a, u), 0, s->a->I + H, NULL, acc, xc);
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++) {
        real *to = z + (b + r) * s->m->width + u;
        v_store(to + SLOT_C * H, xc[r]);
        v_store(to + SLOT_Z * H, acc[r * GATES]);
        v_store(to + SLOT_R * H, acc[r * GATES + 1]);
        if (GATES == 3) v_store(to + SLOT_Q * H, acc[r * 3 + 2]);
    }
}

TILE_FN void z_rows(ptrdiff_t rows, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, real *z)
{
    if (reset_after(s->a)) TILE_SWITCH(rows, z_tile, 3, s, b, u, z)
    else TILE_SWITCH(rows, z_tile, 2, s, b, u, z)
}

/* xc += (r h d) Uc, the left side being the last slot of the gates. */
INLINE void reset_tile(const int MR, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, const real *gates, real *z)
{
    const tdf_rnn *a = s->a;
    ptrdiff_t H = a->H, width = s->m->width, n = H - u;
    const real *candidate = panel_of(a, u) + (4 + 3 * a->I + 2) * VL;
    vf acc[TILE_MAX_ROWS];
    z += b * width + SLOT_C * H + u;
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++) acc[r] = v_get(z + r * width, n);
    tile(MR, 1, H, gates + b * width + SLOT_Q * H, width, 1, candidate, 3 * VL, VL, acc);
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++) v_put(z + r * width, acc[r], n);
}

static void reset_rows(ptrdiff_t rows, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, const real *gates,
                       real *z)
{
    TILE_SWITCH(rows, reset_tile, s, b, u, gates, z)
}

/* The gates of one row from its z, and what the candidate adds to xc or multiplies with Uc. */
static void general_gates(const rnn_step *s, ptrdiff_t b, real *z, real *gates)
{
    const tdf_rnn *a = s->a;
    ptrdiff_t H = a->H;
    const real *r = gates + SLOT_R * H, *q = z + SLOT_Q * H, *in = s->in + b * s->m->K + a->I;
    real *xc = z + SLOT_C * H, *rh = gates + SLOT_Q * H;
    act_forward(a->rec_act, H, z + SLOT_Z * H, gates + SLOT_Z * H);
    act_forward(a->rec_act, H, z + SLOT_R * H, gates + SLOT_R * H);
    for (ptrdiff_t u = 0; u < H; u += VL) {
        ptrdiff_t n = H - u;
        if (reset_after(a)) v_put(xc + u, v_fma(v_get(r + u, n), v_get(q + u, n), v_get(xc + u, n)), n);
        else v_put(rh + u, v_mul(v_get(r + u, n), v_get(in + u, n)), n);
    }
}

/* The candidate and h of one row. */
static void general_h(const rnn_step *s, ptrdiff_t b, const real *z, real *gates)
{
    const tdf_rnn *a = s->a;
    ptrdiff_t H = a->H;
    const real *c = gates + SLOT_C * H, *gate = gates + SLOT_Z * H, *h0 = s->before + b * s->m->Hp;
    vf one = v_set1(1);
    act_forward(a->act, H, z + SLOT_C * H, gates + SLOT_C * H);
    for (ptrdiff_t u = 0; u < H; u += VL) {
        vf keep = v_get(gate + u, H - u), fresh = v_mul(v_sub(one, keep), v_get(c + u, H - u));
        put_h(s, b, u, H - u, v_fma(keep, v_load(h0 + u), fresh));
    }
}

static void general_step(const rnn_step *s, ptrdiff_t lo, ptrdiff_t hi)
{
    const tdf_rnn *a = s->a;
    const rnn_memory *m = s->m;
    ptrdiff_t width = m->width, at = s->at * width, rows;
    real *z = m->z + at, *gates = m->gates + at;
    for (ptrdiff_t u = last_vector(s); u >= 0; u -= VL)
        for (ptrdiff_t b = lo; b < hi; b += rows) {
            rows = tile_rows(hi - b, TILE_ROWS(4));
            z_rows(rows, s, b, u, z);
        }
    for (ptrdiff_t b = lo; b < hi; b++) general_gates(s, b, z + b * width, gates + b * width);
    for (ptrdiff_t u = 0; u < a->H && !reset_after(a); u += VL)
        for (ptrdiff_t b = lo; b < hi; b += rows) {
            rows = tile_rows(hi - b, TILE_MAX_ROWS);
            reset_rows(rows, s, b, u, gates, z);
        }
    for (ptrdiff_t b = lo; b < hi; b++) general_h(s, b, z + b * width, gates + b * width);
}

/* One step of rows lo..hi, or of a share of their units; from the last units to the first: see put_slot. */
static void forward_step(const rnn_step *s, ptrdiff_t lo, ptrdiff_t hi)
{
    if (s->m->fused) fused_step(part_rows, fused_rows, panel_of, s, lo, hi);
    else general_step(s, lo, hi);
}

static void forward_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    (void)part;
    run_forward(a, lo, hi, 0, ROUND_UP(a->H, PANEL), forward_step);
}

/* Units lo..hi of all rows. */
static void forward_units(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    (void)part;
    run_forward(a, 0, a->B, lo, hi, forward_step);
}

void TDF_NAME(gru_forward)(const tdf_rnn *a)
{
    double work = a->B * (double)a->T * a->H * (6.0 * (a->I + a->H) + 100);
    run_rows_or_units(forward_body, forward_units, a, work);
}

/* ------------------------------------------------------------------ backward */

/* U^T of z, r and, with reset_after, q; without it that of Uc stands alone behind them. */
static real *candidate_transpose(const tdf_rnn *a, const rnn_scratch *w)
{
    return w->recurrent + gemm_pack_size(2 * a->H, a->H);
}

static void pack_recurrent(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    rnn_scratch w = rnn_scratch_of(a, a->scratch);
    (void)part;
    pack_gates_transpose(a, a->H, a->recurrent, 0, reset_after(a) ? 3 : 2, w.recurrent, lo, hi);
    if (!reset_after(a))
        pack_gates_transpose(a, a->H, a->recurrent, 2, 1, candidate_transpose(a, &w), lo, hi);
}

/* W^T in the order of the slots: c, z, r. */
static void pack_kernel(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    (void)part;
    pack_gates_transpose(a, a->I, a->kernel, 2, 3, rnn_scratch_of(a, a->scratch).kernel, lo, hi);
}

/* dz of a vector of units, written over the gates. dh: the gradient of h_t, then what of h_{t-1}'s comes
 * past the products. Each line undoes the line of forward named beside it. */
INLINE void fused_dz(ptrdiff_t H, ptrdiff_t n, real *gates, const real *h0, real *dh)
{
    vf one = v_set1(1);
    vf c = v_load(gates + SLOT_C * H), z = v_load(gates + SLOT_Z * H);
    vf r = v_load(gates + SLOT_R * H), q = v_load(gates + SLOT_Q * H), d = v_load(dh);
    vf dc = v_mul(v_mul(d, v_sub(one, z)), v_fnma(c, c, one));                 /* h = z h0 + (1 - z) c */
    vf dz = v_mul(v_mul(d, v_sub(v_load(h0), c)), v_mul(z, v_sub(one, z)));
    vf dr = v_mul(v_mul(dc, q), v_mul(r, v_sub(one, r)));                      /* c = a(xc + r q) */
    v_put(gates + SLOT_C * H, dc, n);
    v_put(gates + SLOT_Z * H, dz, n);
    v_put(gates + SLOT_R * H, dr, n);
    v_put(gates + SLOT_Q * H, v_mul(dc, r), n);
    v_store(dh, v_mul(d, z));
}

/* y's gradient `d` becomes that of its pre-activation x, and takes y's place. */
static void slot_dz(int act, ptrdiff_t H, const real *x, real *y, real *d)
{
    act_backward(act, H, x, y, d, d);
    memcpy(y, d, (size_t)H * sizeof(real));
}

/* The same for any activation and all units, up to what comes through the reset gate; work holds RNN_WORK
 * Hp. */
static void general_dz(const tdf_rnn *a, real *gates, const real *pre, const real *h0, real *dh, real *work)
{
    ptrdiff_t H = a->H, Hp = ROUND_UP(H, PANEL);
    real *dc = work, *dz = work + Hp, *dr = work + 2 * Hp;
    real *c = gates + SLOT_C * H, *z = gates + SLOT_Z * H;
    real *r = gates + SLOT_R * H, *q = gates + SLOT_Q * H;
    vf one = v_set1(1);
    for (ptrdiff_t u = 0; u < H; u += VL) {                                        /* h = z h0 + (1 - z) c */
        vf d = v_load(dh + u), gate = v_get(z + u, H - u);
        v_store(dc + u, v_mul(d, v_sub(one, gate)));
        v_store(dz + u, v_mul(d, v_sub(v_load(h0 + u), v_get(c + u, H - u))));
        v_store(dh + u, v_mul(d, gate));
    }
    slot_dz(a->act, H, pre + SLOT_C * H, c, dc);
    slot_dz(a->rec_act, H, pre + SLOT_Z * H, z, dz);
    if (!reset_after(a)) return;
    for (ptrdiff_t u = 0; u < H; u += VL) {                                        /* c = a(xc + r q) */
        ptrdiff_t n = H - u;
        vf back = v_get(c + u, n);
        v_store(dr + u, v_mul(back, v_get(pre + SLOT_Q * H + u, n)));
        v_put(q + u, v_mul(back, v_get(r + u, n)), n);
    }
    slot_dz(a->rec_act, H, pre + SLOT_R * H, r, dr);
}

/* Without reset_after: c = a(xc + (r h d) Uc) undone, after the lines above. */
static void back_reset(const tdf_rnn *a, const rnn_memory *m, const rnn_scratch *w, ptrdiff_t t,
                       ptrdiff_t lo, ptrdiff_t hi)
{
    ptrdiff_t H = a->H, Hp = m->Hp, width = m->width, at = rows_before(a, t);
    const real *dc = m->gates + (at + lo) * width + SLOT_C * H;
    gemm_nn_args g = {.M = hi - lo, .K = H, .N = H, .a = dc, .ar = width, .b = candidate_transpose(a, w),
                      .c = w->products + lo * RNN_WORK * Hp, .cr = RNN_WORK * Hp};
    TDF_NAME(gemm_nn)(&g);                                                         /* of r h d */
    for (ptrdiff_t b = lo; b < hi; b++) {
        real *work = w->products + b * RNN_WORK * Hp, *dr = work + Hp, *dh = w->dh + b * Hp;
        real *r = m->gates + (at + b) * width + SLOT_R * H;
        const real *in = m->in + (at + b) * m->K + a->I;
        for (ptrdiff_t u = 0; u < H; u += VL) {
            ptrdiff_t n = H - u;
            vf d = v_get(work + u, n), back = v_mul(d, v_get(r + u, n));
            v_put(dr + u, v_mul(d, v_get(in + u, n)), n);
            if (a->rec_drop) back = v_mul(back, v_get(a->rec_drop + row_of(a, b) * H + u, n));
            v_put(dh + u, v_add(v_get(dh + u, n), back), n);
        }
        slot_dz(a->rec_act, H, m->z + (at + b) * width + SLOT_R * H, r, dr);
    }
}

static void backward_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    rnn_memory m = rnn_layout(a);
    rnn_scratch w = rnn_scratch_of(a, a->scratch);
    ptrdiff_t H = a->H, Hp = m.Hp;
    (void)part;
    start_backward(a, &w, lo, hi);
    for (ptrdiff_t t = steps_of(a, lo) - 1; t >= 0; t--) {
        ptrdiff_t end = live_end(a, lo, hi, t), first = rows_before(a, t), before = state_before(a, t);
        for (ptrdiff_t b = lo; b < end; b++) {
            back_output(a, &w, t, b);
            ptrdiff_t at = first + b;
            real *gates = m.gates + at * m.width, *dh = w.dh + b * Hp;
            const real *h0 = m.state + (before + b) * Hp;
            if (!m.fused) general_dz(a, gates, m.z + at * m.width, h0, dh, w.products + b * RNN_WORK * Hp);
            for (ptrdiff_t u = 0; m.fused && u < H; u += VL) fused_dz(H, H - u, gates + u, h0 + u, dh + u);
        }
        if (!reset_after(a)) back_reset(a, &m, &w, t, lo, end);
        back_to_state(a, &m, &w, t, SLOT_Z, reset_after(a) ? 3 : 2, lo, end);
        back_to_input(a, &m, &w, t, lo, end);
    }
    end_backward(a, &w, lo, hi);
}

static void weights_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    rnn_memory m = rnn_layout(a);
    real *scratch = rnn_scratch_of(a, a->scratch).products + part * gemm_tn_scratch(m.K);
    const real *h = m.in + a->I, *rh = m.gates + SLOT_Q * a->H;
    real *after = a->dbias && reset_after(a) ? a->dbias + 3 * a->H : NULL;
    weight_columns x_zr = {m.in, m.K, a->I, a->dkernel, a->dbias, 0, SLOT_Z, 2};
    weight_columns x_c = {m.in, m.K, a->I, a->dkernel, a->dbias, 2, SLOT_C, 1};
    weight_columns h_zrq = {h, m.K, a->H, a->drecurrent, after, 0, SLOT_Z, reset_after(a) ? 3 : 2};
    weight_columns rh_c = {rh, m.width, a->H, a->drecurrent, NULL, 2, SLOT_C, 1};
    back_to_weight(a, &m, scratch, lo, hi, x_zr);
    back_to_weight(a, &m, scratch, lo, hi, x_c);
    back_to_weight(a, &m, scratch, lo, hi, h_zrq);
    if (!reset_after(a)) back_to_weight(a, &m, scratch, lo, hi, rh_c);
}

void TDF_NAME(gru_backward)(const tdf_rnn *a)
{
    run_backward(a, pack_recurrent, pack_kernel, backward_body, weights_body);
}
