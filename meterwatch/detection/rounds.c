/* A call's accepted readings, a meter-day at a time. `rounds.py` says why. */

#include "record.h"

enum { FEWEST_PAUSES = 8, LONGEST_CADENCE = 3600, LEAST_LEVEL = 1000 };

/* Start a meter anew, but for its order and its open event, which have their own ends. */
static void forget(Call *c, int64_t m) {
    Record *r = &c->records[m], old = *r;
    *r = *c->fresh;
    r->newest = old.newest, r->jump_at = old.jump_at;
    r->hole_from = old.hole_from, r->hole_until = old.hole_until;
    r->back_at = old.back_at, r->back = old.back;
    memcpy(r->recent_at, old.recent_at, sizeof old.recent_at);
    memcpy(r->recent_hash, old.recent_hash, sizeof old.recent_hash);
    r->ev_start = old.ev_start, r->ev_last = old.ev_last, r->ev_peak = old.ev_peak;
    r->ev_score = old.ev_score, r->ev_why = old.ev_why;
    r->ev_energy = old.ev_energy, r->ev_pending = old.ev_pending;
    for (int i = 0; i < c->plan->width; i++) c->slots[m * c->plan->width + i] = MISSING;
    memset(c->flag + m * HISTORY, 0, HISTORY);
    c->changed[m] = 1;
}

/* Fix a meter's cadence at its usual pause; one with few pauses behind it keeps what it has. */
static void settle(Record *r) {
    int64_t pauses[PAST];
    int known = 0;
    for (int i = 0; i + 1 < PAST; i++) {
        if (r->past_at[i] == NEVER) continue;
        int64_t pause = r->past_at[i + 1] - r->past_at[i];
        int k = known++;
        for (; k > 0 && pauses[k - 1] > pause; k--) pauses[k] = pauses[k - 1];
        pauses[k] = pause;
    }
    if (known < FEWEST_PAUSES) return;
    int64_t usual = pauses[(known - 1) / 2];
    r->cadence = (int32_t)(usual < LONGEST_CADENCE ? usual : LONGEST_CADENCE);
}

/* The usual power of a meter: the mean size of its known slots, never below one watt. */
static void level(const Call *c, int64_t m) {
    Meters one = {c->slots, c->flag, c->rows + m, (const char *)c->records[m].hot, sizeof(Record)};
    int64_t found;
    mw_levels(c->plan, &one, 1, &found);
    c->records[m].level = found > LEAST_LEVEL ? found : LEAST_LEVEL;
}

/* The days since a meter's own, of which today's slots are the first, join a series. */
static void join(int16_t *codes, int length, int shift, const Record *r, int k) {
    int kept = shift < length ? length - shift : 0;
    memmove(codes, codes + length - kept, 2 * (size_t)kept);
    for (int i = kept, from = i + shift - length; i < length; i++, from++)
        codes[i] = from < SLOTS_A_DAY ? r->hot[k][from] : MISSING;
}

/* Move a meter to roll day `day`: the slots of the days since its own join the history. */
static void roll(Call *c, int64_t m, int64_t day) {
    Record *r = &c->records[m];
    int64_t old = r->day;
    r->day = (int32_t)day;
    if (old == NO_DAY) r->first_day = (int32_t)day;
    if (old == NO_DAY || old == day) return;
    /* A slot that is still open when its day is over lacked its last reading: it is not remembered. */
    memset(r->sums, 0, sizeof r->sums);
    memset(r->counts, 0, sizeof r->counts);
    r->largest = -BEYOND, r->least = BEYOND, r->slot = NEVER, r->slot_run = 0;
    int64_t days = day - old;
    int shift = days < 0 ? 0 : days * SLOTS_A_DAY < HISTORY + HOT ? (int)days * SLOTS_A_DAY : HISTORY + HOT;
    for (int k = 0; k < SERIES; k++) {
        join(c->slots + m * c->plan->width + c->plan->offset[k], c->plan->lengths[k], shift, r, k);
        for (int i = 0; i < HOT; i++) r->hot[k][i] = i + shift < HOT ? r->hot[k][i + shift] : MISSING;
    }
    uint8_t *flag = c->flag + m * HISTORY;
    int kept = shift < HISTORY ? HISTORY - shift : 0;
    memmove(flag, flag + HISTORY - kept, (size_t)kept);
    for (int i = kept, from = i + shift - HISTORY; i < HISTORY; i++, from++)
        flag[i] = from < SLOTS_A_DAY ? r->hot_flag[from] : 0;
    for (int i = 0; i < HOT; i++) r->hot_flag[i] = i + shift < HOT ? r->hot_flag[i + shift] : 0;
    c->changed[m] = 1;
    settle(r);
    if (r->level > 0) level(c, m);
}

/* Where an unready meter's warm-up ends among its accepted readings from `begin` to before `end`: there, or at `end`
   when it does not. When it is over at once, the meter's level is set, and its readings go on to `end`. */
static int64_t warm_up(Call *c, int64_t m, int64_t begin, int64_t end) {
    Record *r = &c->records[m];
    int64_t last = r->last_power_at, seen = r->seen, cadence = r->cadence;
    int64_t running = cadence > 0 ? cadence : cadence < 0 ? -cadence : LONGEST_CADENCE;
    for (int64_t i = begin; i < end; i++) {
        if (c->status[i] != ACCEPTED || isnan(c->channels[i])) continue;
        int64_t pause = last == NEVER ? LONGEST_CADENCE : c->at[i] - last;
        if (cadence <= 0 && pause < running) running = pause;
        if (seen >= -floored(-c->rules->warm_up_s, running > 1 ? running : 1)) {
            if (i > begin) return i;
            level(c, m);
            if (cadence <= 0) { /* from here on a segment has one cadence, whatever readings are cut into it */
                r->cadence = (int32_t)(cadence < 0 ? -cadence : LONGEST_CADENCE);
                settle(r);
            }
            return end;
        }
        seen++;
        last = c->at[i];
    }
    return end;
}

/* Find each meter's next readings within one day, the same for all that is remembered of it, and bring it to that day.
   `many` is how many of them have power. Answers 0 when there are no more readings. */
int mw_turn(Call *c) {
    int left = 0;
    c->many = 0;
    for (int64_t m = 0; m < c->meters; m++) {
        int64_t begin = c->next[m], stop = c->stop[m];
        c->count[m] = 0;
        while (begin < stop && c->status[begin] != ACCEPTED) begin++;
        c->begin[m] = c->end[m] = c->next[m] = begin;
        if (begin == stop) continue;
        left = 1;
        if (c->anew[begin]) forget(c, m);
        int64_t day = floored(floored(c->at[begin], SLOT_S) - c->roll[m], SLOTS_A_DAY), end = begin + 1;
        int64_t over = ((day + 1) * SLOTS_A_DAY + c->roll[m]) * SLOT_S;
        roll(c, m, day);
        while (end < stop && (c->status[end] != ACCEPTED || (c->at[end] < over && !c->anew[end]))) end++;
        if (c->records[m].level == 0) end = warm_up(c, m, begin, end);
        for (int64_t i = begin; i < end; i++) {
            if (c->status[i] != ACCEPTED) continue;
            c->status[i] = GAP;
            c->count[m] += !isnan(c->channels[i]);
        }
        c->end[m] = c->next[m] = end;
        c->many += c->count[m];
    }
    return left;
}
