"""What each picture of the report shows, and what it cannot say; by the picture's file name."""

from __future__ import annotations

CAPTIONS = {
    "learning-curves": "Mean reward of each epoch's training samples against the images scored so far. Line: "
    "interquartile mean of the seeds; band: their range.",
    "intervals": "Final reward on the evaluation's images. Large dot: interquartile mean of the seeds, under four "
    "seeds their mean; bar: its 95 % bootstrap interval; small dots: the seeds; dashed: the pretrained model. Over two "
    "or three seeds a bar is their range and says less than 95 %; bars that overlap do not show that two are equal.",
    "improvement": "How often a run of the first algorithm ends above a run of the second, ties counted half, with the "
    "95 % bootstrap interval; 0.5 (dashed) is no difference; all rewards: the mean over them. It says how often, not "
    "by how much. Where all runs of one are ahead the bar has no width: few seeds cannot show how rare the opposite "
    "is. n: runs of the one : of the other. Of more than ten algorithms only the comparisons with frozen are shown.",
    "profiles": "Final rewards of all runs on one scale: 0 is frozen and 1 the best algorithm on that reward. Left: "
    "the share of runs above tau with its pointwise 95 % band; one curve above another everywhere is better, curves "
    "that cross are better in different things. Right: interquartile mean and mean over all rewards with their "
    "intervals; n: runs. Both ends of the scale are taken as known, so that bands and intervals leave their error out, "
    "and another best algorithm would move all scores.",
    "frontier": "Reward against the KL spent on it. Lines: training samples, epoch by epoch (thick: interquartile mean "
    "of the seeds, thin: the seeds). Points: the evaluation after training (large and small alike). Higher at "
    "the same KL is better: the same reward from less change.",
    "before-after": "The same evaluation prompts and noise before and after; under a name the final reward of that "
    "row's run.",
    "through-training": "One prompt and its noise at every evaluation.",
    "tuning-history": "Every trial's value, the average reward over the tuning seeds, in the order of the search. "
    "Line: the best so far among those that met the constraints. At the lower edge: trials that have no value. The "
    "highest points are partly luck; see the winners on fresh seeds above.",
    "tuning-pareto": "Every complete trial's reward against its KL, averages over the tuning seeds. Line: the Pareto "
    "front of those that met the constraints: none of these is better than one of it in both.",
    "tuning-parallel": "Every trial as a line through its settings to its value; darker is better, by rank; thick: the "
    "best (of two objectives, the front); dashed: breaks a constraint; dotted: no value. A search that follows what "
    "it finds tries good regions more often, so that dense places are no proof.",
    "tuning-importance": "How much of what sets the better trials apart lies in each parameter (PED-ANOVA), within the "
    "range that was searched. Of few trials it is a hint.",
    "time": "Where the wall time of one run went, interquartile mean of the seeds. Other: starting, "
    "evaluations, measuring the KL, checkpoints, and epochs that an interruption lost.",
}
