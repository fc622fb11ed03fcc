/* top.c - see top.h. */
#include "engine/top.h"

#include <stdlib.h>

static inline bool before(struct omen_hit a, struct omen_hit b)
{
    return a.distance < b.distance ||
           (a.distance == b.distance && omen_id_compare(&a.id, &b.id) < 0);
}

static int compare(const void *a, const void *b)
{
    const struct omen_hit *x = a;
    const struct omen_hit *y = b;

    return before(*x, *y) ? -1 : before(*y, *x);
}

/* Hoare's selection: afterwards hits[0..keep) are the first `keep`. */
void omen_top_cut(struct omen_top *top)
{
    struct omen_hit *hits = top->hits;
    int64_t low = 0;
    int64_t high = (int64_t)top->count - 1;
    int64_t nth = (int64_t)top->keep - 1;

    if (top->count < top->keep) return;
    while (low < high) {
        struct omen_hit pivot = hits[nth];
        int64_t i = low;
        int64_t j = high;

        while (i <= j) {
            while (before(hits[i], pivot))
                i++;
            while (before(pivot, hits[j]))
                j--;
            if (i <= j) {
                struct omen_hit t = hits[i];
                hits[i++] = hits[j];
                hits[j--] = t;
            }
        }
        if (j < nth) low = i;
        if (nth < i) high = j;
    }
    top->count = top->keep;
    top->worst = hits[0].distance;
    for (uint32_t i = 1; i < top->keep; i++) {
        if (hits[i].distance > top->worst) top->worst = hits[i].distance;
    }
}

uint32_t omen_top_finish(struct omen_top *top)
{
    omen_top_cut(top);
    if (top->count > 0) qsort(top->hits, top->count, sizeof *top->hits, compare);
    return top->count;
}
