// Grows and shrinks the plan by its processor time. It stands on the plan: a site has no such metric,
// and slots have no instances of their own.

@description('Name of the autoscale setting.')
param autoscaleName string

@description('Region.')
param location string

@description('Tags of the resource.')
param tags object

@description('Resource id of the plan.')
param planId string

@description('Fewest instances, and what the plan gets while no metric can be read.')
param minimum int

@description('Most instances.')
param maximum int

@description('One more instance above this percentage of processor time, over five minutes.')
param growAbove int

@description('One less below this percentage. Far below the other, else it swings.')
param shrinkBelow int

resource autoscale 'Microsoft.Insights/autoscalesettings@2022-10-01' = {
  name: autoscaleName
  location: location
  tags: tags
  properties: {
    enabled: true
    targetResourceUri: planId
    profiles: [
      {
        name: 'by-cpu'
        capacity: {
          minimum: string(minimum)
          maximum: string(maximum)
          default: string(minimum)
        }
        rules: [
          {
            metricTrigger: {
              metricName: 'CpuPercentage'
              metricNamespace: 'Microsoft.Web/serverfarms'
              metricResourceUri: planId
              timeGrain: 'PT1M'
              statistic: 'Average'
              timeWindow: 'PT5M'
              timeAggregation: 'Average'
              operator: 'GreaterThan'
              threshold: growAbove
            }
            scaleAction: {
              direction: 'Increase'
              type: 'ChangeCount'
              value: '1'
              cooldown: 'PT5M'
            }
          }
          {
            metricTrigger: {
              metricName: 'CpuPercentage'
              metricNamespace: 'Microsoft.Web/serverfarms'
              metricResourceUri: planId
              timeGrain: 'PT1M'
              statistic: 'Average'
              timeWindow: 'PT5M'
              timeAggregation: 'Average'
              operator: 'LessThan'
              threshold: shrinkBelow
            }
            scaleAction: {
              direction: 'Decrease'
              type: 'ChangeCount'
              value: '1'
              cooldown: 'PT5M'
            }
          }
        ]
      }
    ]
  }
}

@description('Resource id of the autoscale setting.')
output autoscaleId string = autoscale.id
