"""What a page of ours does not show: said on every page, next to what the run itself has to say."""

from __future__ import annotations

from membrane.report.access import Results, attack_names

MIN_MODELS = 16


def limits(results: Results) -> list[str]:
    """The run's own limits first, then those of every such audit."""
    return [
        *(results.get("limits") or ()),
        *_always(results),
        *_few_models(results),
        *_plans(results),
        *_canaries(results),
    ]


def _always(results: Results) -> list[str]:
    number = len(attack_names(results))
    return [
        f"Only the {number} attacks listed were tried. What they found is a floor for what leaks, not a ceiling: a "
        "stronger or a different attack may find more."
        if number > 1
        else "One attack was tried. What it found is a floor for what leaks, not a ceiling.",
        _threat_models(results),
        "A defense without differential privacy gives no guarantee. Lower measured leakage is a measurement, on this "
        "data, against these attacks; it says nothing about what nobody tried.",
        "Leakage is an average over members. A low average may hide single people who are easy to recognize; the "
        "canaries and the most exposed records are there because of them, and they are not everybody.",
        "One data set, one architecture and one recipe: another data set, model or seed can turn the order around.",
    ]


def _threat_models(results: Results) -> str:
    known = {attack.get("threat_model") for attack in results.get("attacks") or ()} - {None}
    if "weights" in known:
        return (
            "Attacks that read the weights are among those listed; ones that train on the weights further may see more."
        )
    return (
        "All attacks are black-box: they read what the model answers (its scores), not its weights. Somebody who "
        "holds the weights has more to look at."
    )


def _few_models(results: Results) -> list[str]:
    models = results["task"]["n_models"]
    if models >= MIN_MODELS:
        return []
    return [
        f"{models} models played target. With fewer than {MIN_MODELS}, intervals are long and rest more on the "
        "assumption that models spread like a bell curve; read them as a rough size of the chance in a number. "
        "Attacks with more reference models are stronger, too."
    ]


def _plans(results: Results) -> list[str]:
    chose = [
        entry["label"]
        for entry in results["entries"]
        if entry.get("plans_agreement") and not entry.get("choices_known")
    ]
    if not chose:
        return []
    return [
        f"Each model of {', '.join(chose)} chose a plan of its own, the attackers' references included. Somebody who "
        "knows the plan of the released model can give it to all references, and may see more: audit that plan as a "
        "frozen_plan beside it."
    ]


def _canaries(results: Results) -> list[str]:
    if not results["task"].get("canaries"):
        return ["No canaries were planted, so nothing here stands for records that a model has to learn by heart."]
    return [
        "Canaries are examples with a wrong label, which a model can only learn by heart: a hard case, chosen by us, "
        "and not the hardest there is. They were in the pool when the accuracies above were measured."
    ]
