/* The inner loops of the slot statistics: look-ups in many windows of many series, and quartiles of what they give.

Plain C, no Python in it; `kernel.py` calls it and says what is what. Every sum is of whole numbers and every other
number comes of the same operations in the same order, so that a slot has the same bits alone and in company. */

#include "record.h"

enum { MEAN_OF, MAX_OF, MIN_OF, ROUGH, SPAN, HOWS };

#define CLIP 50.0 /* robust deviations beyond say no more */
#define TOLD 0.75 /* of what the hours before have shown is taken off: a change still counts for something the day after */
#define MOST 64   /* lags of a look-up, and values in a context, at most */

typedef struct { /* one meter's series, history and hot slots joined, and running sums where they are looked at */
    int16_t *code;
    int32_t *count;
    int64_t *sum[HOWS];
    int made[HOWS], present;
} Laid;

typedef struct { /* stretches of slots that are looked at, counted from the newest change of the profile */
    int32_t begin[MOST], end[MOST], n;
} Stretches;

static const int16_t *past(const Plan *plan, const Meters *meters, int64_t m, int k) {
    return meters->slots + meters->rows[m] * plan->width + plan->offset[k];
}

/* Whether so many of the last 28 days' slots are flagged that they are the new normal. */
int mw_accepted(const Plan *plan, const uint8_t *flag, int days) {
    int sum = 0;
    for (int i = plan->history - 28 * plan->slots_a_day; i < plan->history; i++) sum += flag[i];
    return sum >= days * plan->slots_a_day;
}

/* Sort each lane's n values, n rows of `lanes`: merge exchange (Knuth, The Art of Computer Programming 3, 5.2.2 M),
   whose comparisons do not depend on the values, so that all lanes go together. */
static void sort(double *rows, int n, int lanes) {
    int top = 1;
    while (2 * top < n) top *= 2;
    for (int p = top; p > 0; p /= 2)
        for (int q = top, r = 0, d = p; d > 0; d = q - p, q /= 2, r = p) {
            for (int i = 0; i + d < n; i++) {
                if ((i & p) != r) continue;
                double *restrict a = rows + (int64_t)i * lanes, *restrict b = rows + (int64_t)(i + d) * lanes;
                for (int j = 0; j < lanes; j++) {
                    double one = a[j], other = b[j];
                    a[j] = one < other ? one : other;
                    b[j] = one > other ? one : other;
                }
            }
            if (q == p) break;
        }
}

/* The value `of` n sorted ones of a lane of which the median (of two, if n is even) and quartiles are made. */
static void pick(const double *rows, int lanes, int n, double out[4]) {
    const int of[4] = {(n - 1) / 2, n / 2, n / 4, 3 * n / 4 - (n % 4 == 0)};
    for (int k = 0; k < 4; k++) out[k] = rows[(int64_t)of[k] * lanes];
}

/* What mean power is usual at a slot of a meter: median, lower and upper quartile, (3, 2), days then weeks, NaN where
   unknown. Of the meter: the codes of its mean power and its flags, and whether what is flagged is the new normal. */
void mw_context(const Plan *plan, const int16_t *codes, const uint8_t *flag, int all, int64_t slot, double out[6]) {
    for (int part = 0; part < 2; part++) {
        const int32_t *places = part ? plan->of_weeks : plan->of_days;
        double values[MOST], found[4] = {NAN, NAN, NAN, NAN};
        int count = 0;
        for (int l = 0; l < (part ? plan->weeks : plan->days); l++)
            for (int beside = -1; beside <= 1; beside++) {
                int64_t place = plan->history + slot + beside - plan->lag[places[l]];
                if (place >= plan->history || codes[place] == MISSING || (flag[place] && !all)) continue;
                values[count++] = (double)plan->decoded[(uint16_t)codes[place]];
            }
        if (count >= 3) sort(values, count, 1), pick(values, 1, count, found);
        out[part] = (found[0] + found[1]) / 2;
        out[2 + part] = found[2];
        out[4 + part] = found[3];
    }
}

/* Of each meter: the mean size of what is known of its first series, in whole thousandths; 0 where nothing is. */
void mw_levels(const Plan *plan, const Meters *meters, int64_t n, int64_t *out) {
    int length = plan->lengths[plan->mean];
    for (int64_t m = 0; m < n; m++) {
        const int16_t *codes = past(plan, meters, m, plan->mean);
        const char *today = meters->hot + m * meters->stride + 2 * (size_t)plan->mean * plan->hot;
        int64_t sum = 0, known = 0;
        for (int i = 0; i < length + plan->hot; i++) {
            int16_t code;
            if (i < length)
                code = codes[i];
            else
                memcpy(&code, today + 2 * (i - length), 2);
            int64_t value = plan->decoded[(uint16_t)code];
            sum += value < 0 ? -value : value;
            known += code != MISSING;
        }
        out[m] = known ? sum / known : 0;
    }
}

/* The stretches behind slots lowest - 1 to highest + 1 at every lag, each with the longest window. */
static void stretch(const Plan *plan, int64_t lowest, int64_t highest, Stretches *out) {
    out->n = 0;
    for (int l = plan->lags - 1; l >= 0; l--) {
        int32_t begin = (int32_t)lowest - 1 - plan->lag[l] - plan->longest, end = (int32_t)highest + 2 - plan->lag[l];
        if (out->n && begin <= out->end[out->n - 1]) {
            out->end[out->n - 1] = end;
        } else {
            out->begin[out->n] = begin;
            out->end[out->n++] = end;
        }
    }
}

/* A missing code is the lowest there is; one less, in 16 bits, it is the highest. */
static int largest(const int16_t *code, int n) {
    int16_t best = MISSING;
    for (int i = 0; i < n; i++) best = code[i] > best ? code[i] : best;
    return best;
}

static int least_of(const int16_t *code, int n) {
    int16_t best = 32767;
    for (int i = 0; i < n; i++) {
        int16_t one = (int16_t)((uint16_t)code[i] - 1u);
        best = one < best ? one : best;
    }
    return best + 1;
}

static int clamped(int place, int n) { return place < 0 ? 0 : place > n ? n : place; }

static void join(const Plan *plan, const Meters *meters, int64_t m, int k, const Stretches *at, Laid *laid) {
    int length = plan->lengths[k], n = length + plan->hot;
    memcpy(laid->code, past(plan, meters, m, k), 2 * (size_t)length);
    memcpy(laid->code + length, meters->hot + m * meters->stride + 2 * (size_t)k * plan->hot, 2 * (size_t)plan->hot);
    memset(laid->made, 0, sizeof laid->made);
    laid->present = 0;
    for (int s = 0; s < at->n && !laid->present; s++) {
        int begin = clamped(length + at->begin[s], n), end = clamped(length + at->end[s], n);
        laid->present = largest(laid->code + begin, end - begin) != MISSING;
    }
    for (int s = 0; s < at->n && laid->present; s++) {
        int32_t count = 0;
        int begin = clamped(length + at->begin[s], n), end = clamped(length + at->end[s], n);
        laid->count[begin] = 0;
        for (int i = begin; i < end; i++) laid->count[i + 1] = count += laid->code[i] != MISSING;
    }
}

static const int64_t *running(const Plan *plan, const Laid *lower, Laid *laid, int k, int how, const Stretches *at) {
    int64_t *out = laid->sum[how];
    if (laid->made[how]) return out;
    int length = plan->lengths[k], n = length + plan->hot;
    const int16_t *code = laid->code;
    for (int s = 0; s < at->n; s++) {
        int64_t sum = 0;
        int begin = clamped(length + at->begin[s], n), end = clamped(length + at->end[s], n);
        out[begin] = 0;
        for (int i = begin; i < end; i++) {
            int64_t value = plan->decoded[(uint16_t)code[i]];
            if (how == SPAN) value -= plan->decoded[(uint16_t)lower->code[i]];
            if (how == ROUGH) {
                int both = i > 0 && code[i] != MISSING && code[i - 1] != MISSING;
                int64_t step = value - (both ? plan->decoded[(uint16_t)code[i - 1]] : value);
                value = step < 0 ? -step : step;
            }
            out[i + 1] = sum += value;
        }
    }
    laid->made[how] = 1;
    return out;
}

/* One measure with its window ending at slot `place` of the joined series; NaN where too little is known. */
static double look(const Plan *plan, const Laid *laid, const int64_t *sums, const Measure *measure, int64_t place) {
    int w = measure->window, most = plan->lengths[measure->series] + plan->hot - 1;
    int64_t end = (place > most ? most : place) + 1, begin = end - w;
    if (begin < 0) return NAN;
    int32_t known = laid->count[end] - laid->count[begin];
    if (2 * known < w) return NAN;
    if (measure->how == MAX_OF) return (double)plan->decoded[(uint16_t)largest(laid->code + begin, w)];
    if (measure->how == MIN_OF) return (double)plan->decoded[(uint16_t)least_of(laid->code + begin, w)];
    return (double)(sums[end] - sums[begin]) / (double)known;
}

static double logarithm(double raw, double unit) {
    double size = log1p(fabs(raw) / unit);
    return raw > 0 ? size : raw < 0 ? -size : raw;
}

/* Median and quartiles at one slot of the measures of `some` lanes: `near` has the slot's values and its neighbours'
   before and after, (3, lags, some); a logarithm keeps the order, so it is taken of what is picked. */
static void contexts(const Plan *plan, const double *near, const double *unit, const int *lane, int some, int least,
                     int64_t n, double *scratch, double *out) {
    int64_t wide = plan->measures * n;
    for (int part = 0; part < 2; part++, out += 3 * wide) {
        const int32_t *places = part ? plan->of_weeks : plan->of_days;
        int periods = part ? plan->weeks : plan->days, rows = 0;
        int32_t counts[plan->measures];
        memset(counts, 0, sizeof counts);
        for (int beside = 0; beside < 3; beside++)
            for (int l = 0; l < periods; l++, rows++) {
                const double *from = near + (int64_t)(beside * plan->lags + places[l]) * some;
                double *to = scratch + (int64_t)rows * some;
                for (int j = 0; j < some; j++) {
                    int there = from[j] == from[j];
                    counts[j] += there;
                    to[j] = there ? from[j] : INFINITY;
                }
            }
        sort(scratch, rows, some);
        for (int j = 0; j < some; j++) {
            double found[4] = {NAN, NAN, NAN, NAN}, *to = out + lane[j] * n;
            if (counts[j] >= least) pick(scratch + j, some, counts[j], found);
            if (plan->measure[lane[j]].log)
                for (int k = 0; k < 4; k++) found[k] = logarithm(found[k], unit[lane[j]]);
            to[0] = (found[0] + found[1]) / 2;
            to[wide] = found[2];
            to[2 * wide] = found[3];
        }
    }
}

/* Bytes of scratch that `mw_measures` needs. */
int64_t mw_scratch(const Plan *plan) {
    int64_t slots = plan->width + (int64_t)plan->series * (plan->hot + 1);
    int64_t values = ((int64_t)plan->hot + 3) * plan->lags + MOST;
    return 8 * values * plan->measures + slots * (8 * HOWS + 4 + 2);
}

/* Every measure at `slot[i]` of meter `m[i]` (never falling), and its context: now (measures, n), context
   (2, 3, measures, n), days then weeks; `unit` (meters, measures) is what counts as small before a logarithm. */
void mw_measures(const Plan *plan, const Meters *meters, int days, const double *unit, int64_t n, const int64_t *m,
                 const int64_t *slot, int least, char *scratch, double *now, double *context) {
    int lanes = plan->measures, lags = plan->lags, columns = plan->hot + 3;
    Laid laid[plan->series];
    double *values = (double *)scratch, *sorted = values + (int64_t)columns * lags * lanes;
    scratch = (char *)(sorted + (int64_t)MOST * lanes);
    for (int how = 0; how < HOWS; how++)
        for (int k = 0; k < plan->series; scratch += 8 * (plan->lengths[k] + plan->hot + 1), k++)
            laid[k].sum[how] = (int64_t *)scratch;
    for (int k = 0; k < plan->series; scratch += 4 * (plan->lengths[k] + plan->hot + 1), k++)
        laid[k].count = (int32_t *)scratch;
    for (int k = 0; k < plan->series; scratch += 2 * (plan->lengths[k] + plan->hot + 1), k++)
        laid[k].code = (int16_t *)scratch;
    for (int64_t from = 0, to; from < n; from = to) {
        int64_t lowest = slot[from], highest = slot[from];
        for (to = from; to < n && m[to] == m[from]; to++) {
            lowest = slot[to] < lowest ? slot[to] : lowest;
            highest = slot[to] > highest ? slot[to] : highest;
        }
        uint8_t wanted[columns];
        memset(wanted, 0, sizeof wanted);
        for (int64_t i = from; i < to; i++) memset(wanted + slot[i] - lowest, 1, 3);
        const uint8_t *flag = meters->flag + meters->rows[m[from]] * plan->history;
        const double *mine = unit + m[from] * lanes;
        int all = mw_accepted(plan, flag, days);
        Stretches at;
        stretch(plan, lowest, highest, &at);
        for (int k = 0; k < plan->series; k++) join(plan, meters, m[from], k, &at, &laid[k]);
        int lane[lanes], some = 0; /* those of series that there is nothing of are not known */
        for (int j = 0; j < lanes; j++)
            if (laid[plan->measure[j].series].present) lane[some++] = j;
        for (int j = 0; j < some; j++) {
            const Measure *measure = &plan->measure[lane[j]];
            int k = measure->series, summed = measure->how != MAX_OF && measure->how != MIN_OF;
            const int64_t *sums = summed ? running(plan, &laid[plan->min], &laid[k], k, measure->how, &at) : NULL;
            for (int c = 0; c < columns; c++) {
                if (!wanted[c]) continue;
                for (int l = 0; l < lags; l++) {
                    int64_t place = lowest - 1 + c - plan->lag[l], old = plan->history + place;
                    int looked_at = !plan->lag[l] || old >= plan->history || all || !flag[old];
                    values[((int64_t)c * lags + l) * some + j] =
                        looked_at ? look(plan, &laid[k], sums, measure, plan->lengths[k] + place) : NAN;
                }
            }
        }
        for (int64_t i = from; i < to; i++) {
            const double *near = values + (slot[i] - lowest) * lags * some, *own = near + (int64_t)lags * some;
            for (int j = 0; j < lanes; j++) {
                now[j * n + i] = NAN;
                for (int k = 0; k < 6; k++) context[((int64_t)k * lanes + j) * n + i] = NAN;
            }
            for (int j = 0; j < some; j++) {
                int is = lane[j];
                now[is * n + i] = plan->measure[is].log ? logarithm(own[j], mine[is]) : own[j];
            }
            contexts(plan, near, mine, lane, some, least, n, sorted, context + i);
        }
    }
}

/* How far each statistic is from the quartiles of the nearer of its contexts, in robust spreads and floors, on its
   suspicious side: (n, statistics), and whether that was the context of weeks. `of` is a statistic's measure, `floor`
   (meters, measures); the others are as in `mw_measures`. */
void mw_deviations(const Plan *plan, int statistics, const int32_t *of, const double *side, int64_t n, const int64_t *m,
                   const double *now, const double *context, const double *floor, double *out, uint8_t *weeks) {
    int64_t lanes = plan->measures;
    for (int64_t i = 0; i < n; i++)
        for (int s = 0; s < statistics; s++, out++) {
            double found[2];
            for (int part = 0; part < 2; part++) {
                const double *usual = context + ((int64_t)part * 3 * lanes + of[s]) * n + i;
                double spread = (usual[2 * lanes * n] - usual[lanes * n]) / 1.349 + floor[m[i] * lanes + of[s]];
                found[part] = (now[of[s] * n + i] - usual[0]) / spread * side[s];
            }
            double nearer = fmin(found[0], found[1]);
            *out = nearer < -CLIP ? -CLIP : nearer > CLIP ? CLIP : nearer;
            *weeks++ = isnan(found[0]) || found[1] <= found[0];
        }
}

/* Take from each score three quarters of the largest positive one of the HOURS before its hour, and note it: `peaks`
   (meters, HOURS + 1) is the largest of each hour up to `newest`, in order of time. */
void mw_novel(float *peaks, int64_t *newest, int64_t n, const int64_t *m, const int64_t *at, const double *score,
              double *out) {
    for (int64_t i = 0; i < n; i++) {
        float *peak = peaks + m[i] * (HOURS + 1), before = 0, own = (float)score[i];
        int64_t hour = floored(at[i], HOUR_S), gone = hour - newest[m[i]];
        int64_t kept = gone <= 0 ? HOURS + 1 : gone <= HOURS ? HOURS + 1 - gone : 0;
        memmove(peak, peak + HOURS + 1 - kept, sizeof *peak * (size_t)kept);
        for (int64_t k = kept; k <= HOURS; k++) peak[k] = -INFINITY;
        newest[m[i]] = hour;
        for (int k = 0; k < HOURS; k++) before = peak[k] > before ? peak[k] : before;
        peak[HOURS] = own > peak[HOURS] ? own : peak[HOURS];
        out[i] = score[i] - TOLD * before;
    }
}
