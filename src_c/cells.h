/* cells.h - the table of the recurrent cells. A new one is a row here and a file with its kernels.
 *
 *   KIND      its number is TDF_<KIND>
 *   file      <file>.c has <file>_pack, <file>_forward and <file>_backward, which rnn.c calls
 *   gates     G: the parts of its kernels and of a row of its bias
 *   slots     vectors of H that a step computes; and how many it starts from, packed before the weights
 *   biases    rows of the bias
 *   keeps     what rnn_memory's `state` has of every step: H or C; NOTHING where h lies in `gates` alone
 *   fused     the activations with which it stores no pre-activation: BY_VALUE, those whose slope follows
 *             from the value; TANH_SIGMOID, these two alone; or NONE
 */
#ifndef TDF_CELLS_H
#define TDF_CELLS_H

#define TDF_CELL_TABLE(X)                                                                          \
    /* KIND, file, gates, slots, biases, keeps, fused */                                           \
    X(SIMPLE_RNN, simple_rnn, 1, 1, 1, NOTHING, BY_VALUE)                                          \
    X(GRU, gru, 3, 4, 2, H, TANH_SIGMOID)                                                          \
    X(GRU_RESET_BEFORE, gru, 3, 4, 1, H, NONE)                                                     \
    X(LSTM, lstm, 4, 4, 1, C, TANH_SIGMOID)

#define TDF_CELL_VALUE(KIND, ...) TDF_##KIND,
typedef enum { TDF_CELL_TABLE(TDF_CELL_VALUE) TDF_CELLS } tdf_cell;
#undef TDF_CELL_VALUE

#endif
