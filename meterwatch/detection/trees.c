/* Rows through an ensemble of trees. Called by `forest.py`.

Several trees are followed side by side, so that the processor need not wait for one step to guess the next. */

#include <stdint.h>

#define TOGETHER 8

typedef struct {
    double threshold;
    int32_t left, right; /* of a leaf: itself */
    int32_t feature;
    int32_t missing_left; /* whether a value that is not known goes left */
} Node;

/* Add up every tree's leaf for each row, tree after tree: (n, features) and values (nodes, outputs) → (n, outputs).
   `root` and `depth` are each tree's; `out` is zero. */
void mw_trees(const Node *node, const double *value, const int32_t *root, const int32_t *depth, int trees, int outputs,
              const float *rows, int64_t n, int features, double *out) {
    for (int from = 0; from < trees; from += TOGETHER) {
        int some = trees - from < TOGETHER ? trees - from : TOGETHER, deepest = 0;
        for (int t = from; t < from + some; t++) deepest = depth[t] > deepest ? depth[t] : deepest;
        for (int64_t i = 0; i < n; i++) {
            const float *row = rows + i * features;
            int32_t at[TOGETHER];
            for (int t = 0; t < TOGETHER; t++) at[t] = root[from + (t < some ? t : 0)];
            for (int d = 0; d < deepest; d++)
                for (int t = 0; t < TOGETHER; t++) {
                    const Node *here = node + at[t];
                    double x = row[here->feature];
                    int right = !(x <= here->threshold) & !((x != x) & here->missing_left);
                    at[t] = right ? here->right : here->left;
                }
            for (int t = 0; t < some; t++)
                for (int c = 0; c < outputs; c++) out[i * outputs + c] += value[(int64_t)at[t] * outputs + c];
        }
    }
}
