/* A round's readings with power: what is expected of them, the slots that they fill and close, and their scores.
   Called by `segment.py`, in the order of the functions here.

   A slot closes with the reading after which the next one belongs to a later slot, judged by the meter's cadence, so
   that its last reading is judged with it; where a reading is missing, it closes when the next one comes. A reading
   that stands for more than a slot (half an hour, an hour) fills them all. */

#include "record.h"

enum { LONGEST_CADENCE = 3600, LEAST_LEVEL = 1000, TIMES = 12, FILL = 4 /* slots that a reading may fill: an hour */ };
enum { LONG_ENOUGH = 35 /* days of history with which every context is there */, AT_MOST = 1 << 30, FEWEST = 16 };
enum { STALE = 8 /* slots: an older judgement of a slot says nothing of a reading */, FAST = 0xFF /* see `kinds.py` */ };

#define NARROWEST 0.05 /* half width of the band on the scaled axis */
#define FARTHEST 100.0 /* half widths: beyond says no more */
#define LARGEST 8.0    /* nothing beyond three hundred times the level is ever expected */
#define LOWEST (-6.0)  /* log10 of months that a score may say */
#define HIGHEST 9.0
#define PI 3.141592653589793

static const int SUMMED[PARTS] = {MEAN, REST, VOLTAGE, MISMATCH, RESIDUAL, REACTIVE}; /* behind `sums` and `counts` */

static double level_of(const Record *r) { return (double)(r->level > LEAST_LEVEL ? r->level : LEAST_LEVEL); }

static int64_t base_of(const Call *c, int64_t m) { return (int64_t)c->records[m].day * SLOTS_A_DAY + c->roll[m]; }

static double clipped(double value, double low, double high) {
    return value < low ? low : value > high ? high : value; /* what is not known stays so */
}

static double or_zero(double value) { return isnan(value) ? 0.0 : value; }

/* Power as a signed logarithm in units of the meter's level. */
static double scaled(double power, double level) {
    double ratio = power / (0.1 * level), size = log1p(fabs(ratio));
    return ratio > 0 ? size : ratio < 0 ? -size : ratio == 0 ? 0.0 : ratio;
}

static double unscaled(double value, double level) {
    double size = expm1(fabs(value));
    return (value > 0 ? size : value < 0 ? -size : value == 0 ? 0.0 : value) * 0.1 * level;
}

/* Slots that are full up to which place with a reading: the first that is not. */
static int64_t until_of(const Call *c, int64_t k) {
    int64_t until = floored(c->at[c->row[k]] + c->cadence[k], SLOT_S), most = c->slot[k] + FILL;
    return until < most ? until : most;
}

/* Say of each reading how it is to be judged, and keep what the next segment needs. `size` is how many
   readings of a meter go through the sequence model with those of others; 0: none. */
void mw_begin(Call *c) {
    const Rules *rules = c->rules;
    int64_t k = 0, asked = 0;
    for (int64_t m = 0; m < c->meters; m++) {
        c->first[m] = k;
        c->size[m] = 0;
        if (!c->count[m]) continue;
        Record *r = &c->records[m];
        int ready = r->level > 0, settled = r->cadence > 0;
        int64_t shortest = r->cadence;
        if (!settled) shortest = shortest < 0 ? -shortest : LONGEST_CADENCE;
        int64_t last = r->last_power_at, resumed = r->resumed_at, run = r->run, seen = r->seen, cadence = 0;
        int64_t age = (int64_t)r->day - r->first_day;
        for (int64_t i = c->begin[m]; i < c->end[m]; i++) {
            double power = c->channels[i];
            if (c->status[i] != GAP || isnan(power)) continue;
            int64_t at = c->at[i], pause = at - last;
            if (!settled && (last == NEVER ? LONGEST_CADENCE : pause) < shortest)
                shortest = last == NEVER ? LONGEST_CADENCE : pause;
            cadence = shortest < 1 ? 1 : shortest > LONGEST_CADENCE ? LONGEST_CADENCE : shortest;
            int64_t absence = rules->absence_s > 3 * cadence ? rules->absence_s : 3 * cadence;
            if (last > NEVER && pause > absence && at > resumed) resumed = at;
            int settling = resumed > NEVER && at - resumed < rules->settle_s, scored = ready && !settling;
            run = c->print[i] == r->run_hash ? run + 1 : 1;
            r->run_hash = (uint32_t)c->print[i];
            seen++;
            int64_t left = -floored(-rules->warm_up_s, cadence) - seen;
            c->status[i] = scored ? SCORED : ready ? GAP : WARMING_UP;
            c->left[i] = left > 0 ? left : 0;
            c->absent[i] = settling;
            if (scored) c->threshold[i] = rules->threshold;
            c->days[i] = scored && age < LONG_ENOUGH && age > -1 ? age : -1;
            c->row[k] = i;
            c->mw[k] = (int64_t)rint(power * 1e6);
            c->slot[k] = floored(at, SLOT_S);
            c->cadence[k] = cadence;
            c->run[k] = run;
            c->distance[k++] = 0;
            last = at;
        }
        r->last_power_at = last;
        r->resumed_at = resumed;
        r->run = (int32_t)(run < AT_MOST ? run : AT_MOST);
        r->seen = (int32_t)(seen < AT_MOST ? seen : AT_MOST);
        if (!settled) r->cadence = (int32_t)(cadence < LONGEST_CADENCE ? -cadence : 0);
        asked += ready && c->expects;
    }
    for (int64_t m = 0; m < c->meters && asked; m++) {
        if (!c->count[m] || c->records[m].level <= 0) continue;
        int64_t size = FEWEST;
        while (size < c->count[m]) size *= 2;
        c->size[m] = asked == 1 ? c->count[m] : size; /* alone, or with others that have about as many */
    }
}

/* The least size above `above`, 0 where there is none; `sharing` is how many meters have it. */
int mw_size(const Call *c, int64_t above, int64_t *sharing) {
    int64_t size = 0;
    for (int64_t m = 0; m < c->meters; m++)
        if (c->size[m] > above && (!size || c->size[m] < size)) size = c->size[m];
    *sharing = 0;
    for (int64_t m = 0; m < c->meters; m++) *sharing += size && c->size[m] == size;
    return (int)size;
}

/* What is known of `length` times from a meter's first one on, (12, length); the last repeated. */
static void times_of(const Call *c, int64_t m, int64_t length, float *out) {
    const Record *r = &c->records[m];
    const uint8_t *flag = c->flag + m * HISTORY;
    double level = level_of(r), usual[6];
    int all = mw_accepted(c->plan, flag, (int)c->rules->acceptance_days);
    int64_t known = NEVER, base = base_of(c, m);
    for (int64_t i = 0; i < length; i++) {
        int64_t k = c->first[m] + (i < c->count[m] ? i : c->count[m] - 1), at = c->at[c->row[k]];
        if (c->slot[k] != known) {
            mw_context(c->plan, c->slots + m * c->plan->width, flag, all, c->slot[k] - base, usual);
            for (int j = 0; j < 6; j++) usual[j] = scaled(usual[j], level);
            known = c->slot[k];
        }
        for (int part = 0; part < 2; part++) {
            int there = !isnan(usual[part]);
            out[part * length + i] = (float)(there ? clipped(usual[part], -20, 20) : 0);
            out[(2 + part) * length + i] = (float)(there ? clipped(usual[4 + part] - usual[2 + part], -20, 20) : 0);
            out[(4 + part) * length + i] = (float)there;
        }
        double hour = 2 * PI * (double)(at - floored(at, DAY_S) * DAY_S) / DAY_S;
        int64_t day = floored(at, DAY_S) + 3, weekday = day - floored(day, 7) * 7; /* 1970-01-01 was a Thursday */
        out[6 * length + i] = (float)sin(hour);
        out[7 * length + i] = (float)cos(hour);
        out[8 * length + i] = (float)sin(2 * hour);
        out[9 * length + i] = (float)cos(2 * hour);
        out[10 * length + i] = (float)(weekday >= 5);
        out[11 * length + i] = (float)log((double)c->cadence[k] / SLOT_S);
    }
}

/* The network's inputs for the meters of a size, `length` places each: past (meters, 2, length + RECEPTIVE - 1) and
   time (meters, 12, length). Beyond a meter's readings the last one is repeated. */
void mw_inputs(const Call *c, int64_t size, int64_t length, float *past, float *time) {
    int64_t wide = length + RECEPTIVE - 1;
    for (int64_t m = 0; m < c->meters; m++) {
        if (c->size[m] != size) continue;
        const Record *r = &c->records[m];
        double level = level_of(r), cadence = (double)c->cadence[c->first[m]];
        int64_t before = r->past_at[0]; /* the first one only gives the second its distance */
        for (int64_t i = 1; i <= wide; i++) {
            int64_t fresh = i - PAST < c->count[m] ? i - PAST : c->count[m] - 1, k = c->first[m] + fresh;
            int64_t mw = i < PAST ? r->past_mw[i] : c->mw[k], at = i < PAST ? r->past_at[i] : c->at[c->row[k]];
            past[i - 1] = (float)clipped(scaled((double)mw, level), -20, 20);
            past[wide + i - 1] = (float)log(clipped((double)(at - before) / cadence, 1, 1000));
            before = at;
        }
        times_of(c, m, length, time);
        past += 2 * wide;
        time += TIMES * length;
    }
}

/* The network's output (n, 3, wide), middle and distances, as middle, lower and upper bound (n, 3, length), the distances
   times their factors. */
void mw_bounds(const float *raw, int64_t n, int64_t wide, int64_t length, double below, double above, double *out) {
    for (int64_t m = 0; m < n; m++, raw += 3 * wide, out += 3 * length)
        for (int64_t i = 0; i < length; i++) {
            double part[3];
            for (int p = 0; p < 3; p++) part[p] = clipped(or_zero((double)raw[p * wide + i]), -LARGEST, LARGEST);
            out[i] = part[0];
            out[length + i] = part[0] - below * part[1];
            out[2 * length + i] = part[0] + above * part[2];
        }
}

/* Take the network's answer for the meters of a size, (meters, 3, length): middle, lower and upper bound. */
void mw_expected(Call *c, int64_t size, int64_t length, const double *bound) {
    for (int64_t m = 0; m < c->meters; m++) {
        if (c->size[m] != size) continue;
        double level = level_of(&c->records[m]);
        for (int64_t i = 0; i < c->count[m]; i++) {
            int64_t k = c->first[m] + i, row = c->row[k];
            double middle = bound[i], low = bound[length + i], high = bound[2 * length + i];
            double own = scaled((double)c->mw[k], level), half = own >= middle ? high - middle : middle - low;
            c->distance[k] = clipped((own - middle) / (half > NARROWEST ? half : NARROWEST), -FARTHEST, FARTHEST);
            if (c->status[row] != SCORED) continue;
            double expected = rint(unscaled(middle, level));
            c->expected[row] = expected / 1e6;
            c->lower[row] = rint(unscaled(low, level)) / 1e6;
            c->upper[row] = rint(unscaled(high, level)) / 1e6;
            c->energy[row] = floored((int64_t)((double)c->mw[k] - expected) * c->cadence[k], 1000);
        }
        bound += 3 * length;
    }
}

/* Code whole thousandths, as `slots.encode`. */
static int16_t encoded(const Rules *rules, int64_t value) {
    return (int16_t)clipped(rint(asinh((double)value / 1000.0) * rules->codes), -32767, 32767);
}

/* Begin an open slot anew. */
static void open_at(Record *r, int64_t slot) {
    memset(r->sums, 0, sizeof r->sums);
    memset(r->counts, 0, sizeof r->counts);
    r->largest = -BEYOND, r->least = BEYOND, r->slot = slot, r->slot_run = 0;
}

/* Add a reading to its meter's open slot. */
static void add(const Call *c, Record *r, int64_t k) {
    double value[CHANNELS];
    for (int j = 0; j < CHANNELS; j++) value[j] = c->channels[j * c->readings + c->row[k]];
    double kw = value[0], kvar = value[1], volt = value[2], inside = value[4] + value[5] + value[6];
    double apparent = volt * value[3] / 1e3, mismatch = rint(fabs(apparent - hypot(kw, or_zero(kvar))) * 1e6);
    /* Watt hours over the cadence are power: 1 Wh = 3.6e6 mW s. */
    int64_t part[PARTS] = {c->mw[k], c->mw[k] - (int64_t)rint(or_zero(inside) * 3.6e6 / (double)c->cadence[k]),
                           (int64_t)rint(or_zero(volt) * 1e3), (int64_t)clipped(or_zero(mismatch), 0, 1e12),
                           (int64_t)rint(c->distance[k] * 1e3), (int64_t)rint(or_zero(kvar) * 1e6)};
    int known[PARTS] = {1, !isnan(inside), !isnan(volt), !isnan(apparent), r->level > 0, !isnan(kvar)};
    for (int p = 0; p < PARTS; p++) {
        r->sums[p] += known[p] ? part[p] : 0;
        r->counts[p] += known[p];
    }
    if (c->mw[k] > r->largest) r->largest = c->mw[k];
    if (c->mw[k] < r->least) r->least = c->mw[k];
    r->slot_run = (int32_t)c->run[k];
}

/* Put a meter's open slot's codes where they belong in the day, coarse series as a byte will hold them. The slots from
   the open one to before `until` take its value; it closes with reading `by`. */
static void close_slot(Call *c, int64_t m, int64_t until, int64_t by) {
    Record *r = &c->records[m];
    int64_t slot = r->slot, base = base_of(c, m), place = until - 1 - base;
    int16_t code[SERIES];
    for (int p = 0; p < PARTS; p++)
        code[SUMMED[p]] =
            r->counts[p] > 0 ? encoded(c->rules, floored(r->sums[p], r->counts[p])) : (int16_t)MISSING;
    code[MAX] = encoded(c->rules, r->largest);
    code[MIN] = encoded(c->rules, r->least);
    code[RUN] = encoded(c->rules, (int64_t)r->slot_run * 1000);
    code[DEVIATION] = MISSING;
    if (r->level > 0) { /* how far it is from what is usual there, on the scaled axis */
        const uint8_t *flag = c->flag + m * HISTORY;
        double usual[6], level = level_of(r);
        int all = mw_accepted(c->plan, flag, (int)c->rules->acceptance_days);
        int64_t within = slot < base ? 0 : slot - base < SLOTS_A_DAY ? slot - base : SLOTS_A_DAY - 1;
        mw_context(c->plan, c->slots + m * c->plan->width, flag, all, within, usual);
        double own = scaled((double)c->plan->decoded[(uint16_t)code[MEAN]], level);
        double distance = fabs(own - scaled(isnan(usual[1]) ? usual[0] : usual[1], level));
        if (!isnan(distance)) code[DEVIATION] = encoded(c->rules, (int64_t)rint(distance * 1e3));
    }
    for (int k = 0; k < SERIES; k++) {
        int step = c->layout->step[k], lowest = c->layout->lowest[k];
        if (step && code[k] != MISSING)
            code[k] = (int16_t)((clipped(rint((double)code[k] / step) - lowest, 0, 254) + lowest) * step);
        for (int64_t i = slot - base; i <= place; i++)
            if (i >= 0 && i < HOT) r->hot[k][i] = code[k];
    }
    if (r->level <= 0 || place < 0 || place >= HOT) return;
    c->owner[c->closings] = m;
    c->place[c->closings] = place;
    c->by[c->closings] = by;
    c->of[c->closings] = slot;
    c->because[c->closings] = 0;
    c->worth[c->closings++] = NAN;
}

/* Push the newest of a meter's readings into what is remembered of them, the newest last. */
static void remember(const Call *c, int64_t m) {
    Record *r = &c->records[m];
    int64_t fresh = c->count[m] < PAST ? c->count[m] : PAST, from = c->first[m] + c->count[m] - fresh;
    memmove(r->past_mw, (char *)r->past_mw + 8 * fresh, 8 * (size_t)(PAST - fresh));
    memmove(r->past_at, (char *)r->past_at + 8 * fresh, 8 * (size_t)(PAST - fresh));
    for (int64_t i = 0; i < fresh; i++) {
        r->past_mw[PAST - fresh + i] = c->mw[from + i];
        r->past_at[PAST - fresh + i] = c->at[c->row[from + i]];
    }
}

/* Fill slots with the readings and close them; `closings` are those to be judged. */
void mw_close(Call *c) {
    c->closings = 0;
    for (int64_t m = 0; m < c->meters; m++) {
        if (!c->count[m]) continue;
        Record *r = &c->records[m];
        int open = r->counts[0] > 0;
        for (int64_t k = c->first[m]; k < c->first[m] + c->count[m]; k++) {
            int64_t full = r->closed, until = until_of(c, k);
            if (until > full) r->closed = until;
            /* A reading that came a little early still fills what it reaches beyond the slots that are closed. */
            if (c->slot[k] < full && until <= full) continue;
            int64_t slot = c->slot[k] > full ? c->slot[k] : full;
            if (open && r->slot != slot) close_slot(c, m, r->slot + 1, k), open = 0;
            if (!open) open_at(r, slot), open = 1;
            add(c, r, k);
            if (until > slot) close_slot(c, m, until, k), open = 0;
        }
        if (!open) open_at(r, NEVER);
        remember(c, m);
    }
}

/* Each reading's score: the rarer of its own surprise and of the last judged slot's, unless that is stale. */
void mw_finish(Call *c) {
    const Rules *rules = c->rules;
    int64_t j = 0;
    for (int64_t k = 0; k < c->many; k++) {
        int64_t row = c->row[k], m = c->meter[row];
        Record *r = &c->records[m];
        for (; j < c->closings && c->by[j] <= k; j++) {
            if (isnan(c->worth[j])) continue;
            r->slow_score = c->worth[j];
            r->slow_slot = c->of[j];
            r->slow_why = (int16_t)c->because[j];
        }
        double slow = c->slot[k] - r->slow_slot <= STALE ? r->slow_score : NAN, fast = c->surprise[k];
        double score = clipped(fmax(fast, slow) - rules->offset, LOWEST, HIGHEST);
        int kind = isnan(slow) || r->slow_why < 0 ? 0 : r->slow_why >> 8;
        c->slow[k] = slow;
        /* A sudden reading has the kind of its slot, as long as that says something of it. */
        c->why[row] = slow >= fast ? r->slow_why : (int16_t)(kind << 8 | FAST);
        if (c->status[row] != SCORED) continue;
        c->score[row] = score;
        if (score < rules->threshold) continue;
        int64_t until = floored(c->at[row] + c->cadence[k], SLOT_S), place = c->slot[k] - base_of(c, m);
        for (int64_t i = 0; i < FILL && (!i || c->slot[k] + i < until); i++) /* they will not teach what is usual */
            if (place + i >= 0 && place + i < HOT) r->hot_flag[place + i] = 1;
    }
}

/* Number the reasons of all readings, which are a few numbers until here, in one: how many there are. `reason` is
   which of them a reading has, `days` begins with the codes: what it is << 48 | a number + 1 << 16 | days + 1. */
int mw_reasons(Call *c) {
    int64_t n = c->readings, many = 0, *place = c->left, *codes = c->days; /* `left` and `absent` are one column here */
    for (int64_t i = 0; i < n; i++) {
        int anomalous = c->score[i] >= c->rules->threshold, low = c->why[i] & FAST;
        int64_t days = c->days[i], status = c->status[i], number = 0;
        int64_t family = status == SCORED ? (anomalous ? 3 : days >= 0 ? 4 : 0) : status <= GAP ? status : 0;
        if (status == REJECTED) family = 100 + c->reason[i];
        if (status == SCORED && anomalous) number = low == FAST ? -1 : low;
        if (status == WARMING_UP) number = c->left[i];
        if (status == GAP) number = c->absent[i];
        c->reason[i] = family << 48 | (number + 1) << 16 | (days + 1);
    }
    memset(place, 0, 16 * (size_t)n);
    for (int64_t i = 0; i < n; i++) {
        int64_t code = c->reason[i], at = (int64_t)((uint64_t)code * 0x9E3779B97F4A7C15u % (uint64_t)(2 * n));
        while (place[at] && codes[place[at] - 1] != code) at = at + 1 < 2 * n ? at + 1 : 0;
        if (!place[at]) codes[many] = code, place[at] = ++many;
        c->reason[i] = place[at] - 1;
    }
    return (int)many;
}
