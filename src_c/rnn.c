/* rnn.c - the kernels of the recurrent layers: each calls that of the cell. */
#include "rnn_common.h"

#define CASE_PACK(KIND, file, ...) case TDF_##KIND: TDF_NAME(file##_pack)(a); break;
#define CASE_FORWARD(KIND, file, ...) case TDF_##KIND: TDF_NAME(file##_forward)(a); break;
#define CASE_BACKWARD(KIND, file, ...) case TDF_##KIND: TDF_NAME(file##_backward)(a); break;

void TDF_NAME(rnn_pack)(const tdf_rnn *a)
{
    switch (a->cell) { TDF_CELL_TABLE(CASE_PACK) }
}

void TDF_NAME(rnn_forward)(const tdf_rnn *a)
{
    switch (a->cell) { TDF_CELL_TABLE(CASE_FORWARD) }
}

void TDF_NAME(rnn_backward)(const tdf_rnn *a)
{
    switch (a->cell) { TDF_CELL_TABLE(CASE_BACKWARD) }
}
