/* simple_rnn.c - the simple recurrent network over whole sequences (Elman 1990).
 *
 *   z = [x_t  h_{t-1} r] [W; U] + b        r: recurrent dropout, or 1
 *   h_t = a(z)                              a: act (tanh)
 *
 * One gate does not fill a tile, so a step is a product of gemm.h, 64 units wide, and then the
 * activation on whole rows. The tape (rnn_layout.h) has h in `gates`; and z only for activations whose
 * slope does not follow from their value.
 */
#include "rnn_common.h"

/* ------------------------------------------------------------------ packing */

/* gemm_pack of [W; U], then the bias. */
static void pack_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    ptrdiff_t H = a->H, I = a->I;
    (void)part;
    for (ptrdiff_t u = lo; u < hi; u += GEMM_PANEL) {
        ptrdiff_t units = hi - u < GEMM_PANEL ? hi - u : GEMM_PANEL, width = ROUND_UP(units, PANEL);
        real *to = a->packed + u * (I + H);
        for (ptrdiff_t k = 0; k < I + H; k++, to += width)
            copy_padded(to, k < I ? a->kernel + k * H + u : a->recurrent + (k - I) * H + u, units, width);
        copy_padded(a->packed + gemm_pack_size(I + H, H) + u, a->bias ? a->bias + u : NULL, units, width);
    }
}

void TDF_NAME(simple_rnn_pack)(const tdf_rnn *a)
{
    double work = 4.0 * (a->I + a->H) * a->H;
    span_run(pack_body, a, a->H, GEMM_PANEL, span_threads(work, a->threads));
}

/* ------------------------------------------------------------------ forward */

/* One step of rows lo..hi. */
static void forward_step(const rnn_step *s, ptrdiff_t lo, ptrdiff_t hi)
{
    const tdf_rnn *a = s->a;
    const rnn_memory *m = s->m;
    ptrdiff_t H = a->H, Hp = m->Hp, at = s->at * Hp;
    real *h = m->gates + at, *z = m->fused ? h : m->z + at;
    gemm_nn_args g = {.M = hi - lo, .K = a->I + H, .N = H, .a = s->in + lo * m->K, .ar = m->K, .b = a->packed,
                      .bias = a->packed + gemm_pack_size(a->I + H, H), .c = z + lo * Hp, .cr = Hp};
    TDF_NAME(gemm_nn)(&g);
    for (ptrdiff_t b = lo; b < hi; b++) {
        real *row = h + b * Hp;
        act_forward(a->act, H, z + b * Hp, row);
        for (ptrdiff_t u = H; u < Hp; u++) row[u] = 0;
        for (ptrdiff_t u = 0; u < Hp; u += VL) put_h(s, b, u, H - u, v_load(row + u));
    }
}

static void forward_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    (void)part;
    run_forward(a, lo, hi, 0, ROUND_UP(a->H, PANEL), forward_step);
}

void TDF_NAME(simple_rnn_forward)(const tdf_rnn *a)
{
    double work = a->B * (double)a->T * a->H * (2.0 * (a->I + a->H) + 40);
    run_rows(forward_body, a, span_threads(work, a->threads));
}

/* ------------------------------------------------------------------ backward */

static void backward_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    rnn_memory m = rnn_layout(a);
    rnn_scratch w = rnn_scratch_of(a, a->scratch);
    ptrdiff_t H = a->H, Hp = m.Hp;
    (void)part;
    start_backward(a, &w, lo, hi);
    for (ptrdiff_t t = steps_of(a, lo) - 1; t >= 0; t--) {
        ptrdiff_t end = live_end(a, lo, hi, t), first = rows_before(a, t);
        for (ptrdiff_t b = lo; b < end; b++) {
            back_output(a, &w, t, b);
            ptrdiff_t at = (first + b) * Hp;
            real *h = m.gates + at, *dh = w.dh + b * Hp;
            act_backward(a->act, H, m.fused ? NULL : m.z + at, h, dh, dh);         /* h = a(z) */
            memcpy(h, dh, (size_t)Hp * sizeof(real));
            memset(dh, 0, (size_t)Hp * sizeof(real));
        }
        back_to_state(a, &m, &w, t, 0, 1, lo, end);
        back_to_input(a, &m, &w, t, lo, end);
    }
    end_backward(a, &w, lo, hi);
}

void TDF_NAME(simple_rnn_backward)(const tdf_rnn *a)
{
    run_backward(a, transpose_recurrent, transpose_kernel, backward_body, back_to_weights);
}
